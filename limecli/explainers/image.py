"""The engine `limecli` for pictures: the numbers of lime.lime_image, pictures made as needed."""

from __future__ import annotations

from limecli.explainers.assemble import describe_superpixels, scores, surrogates
from limecli.explainers.base import OneByOne
from limecli.explainers.batches import BatchedModel, batch_size_for
from limecli.explainers.composition import Composer, hidden_picture
from limecli.explainers.masks import fits_of_masks
from limecli.explainers.segmentation import segmentation_notes, superpixels
from limecli.neighborhood.lime_stream import draw_superpixels, generator
from limecli.types import Explanation, Instance

_BYTES_A_VALUE = 9  # as a byte, and twice in single precision while it is preprocessed


class Image(OneByOne):
    """Pictures, with the numbers of `lime.lime_image.LimeImageExplainer`."""

    kernel_width = 0.25

    def _explain(self, instance: Instance) -> Explanation:
        settings, image = self.settings, instance.payload
        size = batch_size_for(settings, _BYTES_A_VALUE * image.size)
        model = BatchedModel(self._predictor, size, self._progress)
        with model.clock.phase("segmentation"):
            found = superpixels(instance, settings)
        with model.clock.phase("draw"):
            shown = draw_superpixels(generator(settings.seed), found.count, settings.num_samples)
        with model.clock.phase("compose"):
            composer = Composer(image, hidden_picture(image, found, settings.hide_color), found)
        outputs = model.distinct_masks(shown, composer)
        with model.clock.phase("fit"):
            fits = fits_of_masks(shown, outputs, settings, self._predictor)
        return Explanation(
            instance=instance,
            prediction=scores(outputs[0], self._predictor, fits),
            model_calls=model.calls,
            surrogates=surrogates(fits, outputs[0], self._predictor, describe_superpixels(found)),
            segmentation=found,
            image=image,
            notes=segmentation_notes(found, settings),
            phases=model.clock.seconds,
        )
