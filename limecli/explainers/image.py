"""The engine `limecli` for pictures: superpixels shown and hidden, pictures made as needed."""

from __future__ import annotations

from dataclasses import replace

from limecli.explainers.assemble import describe_superpixels
from limecli.explainers.base import OneByOne
from limecli.explainers.batches import BatchedModel, batch_size_for
from limecli.explainers.composition import Composer, hidden_picture
from limecli.explainers.masks import Maskable
from limecli.explainers.segmentation import segmentation_notes, superpixels
from limecli.neighborhood.lime_stream import draw_superpixels, generator
from limecli.types import Explanation, Instance

_BYTES_A_VALUE = 9  # as a byte, and twice in single precision while it is preprocessed


class Image(OneByOne):
    """Pictures; with `--sampler lime` the numbers of `lime.lime_image.LimeImageExplainer`."""

    kernel_width = 0.25

    def _explain(self, instance: Instance) -> Explanation:
        settings, image = self.settings, instance.payload
        size = batch_size_for(settings, _BYTES_A_VALUE * image.size)
        model = BatchedModel(self._predictor, size, self._progress)
        with model.clock.phase("segmentation"):
            found = superpixels(instance, settings)
        with model.clock.phase("compose"):
            composer = Composer(image, hidden_picture(image, found, settings.hide_color), found)
        subject = Maskable(
            found.count,
            lambda shown: model.distinct_masks(shown, composer),
            "binomial",
            lambda n: draw_superpixels(generator(settings.seed), found.count, n),
        )
        explained = self._of_masks(instance, subject, model, describe_superpixels(found))
        notes = segmentation_notes(found, settings)
        return replace(explained, segmentation=found, image=image, notes=notes)
