"""What every format says of how far an explanation can be trusted, and what it never says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from limecli.types import Cell, Change, Flip, Locality, Repeats
from tests.report.made import (
    EXACT,
    FLIP,
    PENGUIN,
    SAMPLED,
    TABULAR,
    TEXT,
    attributions,
    explained,
    label,
    lines,
    on_terminal,
    picture,
    row,
    terminal,
    with_intervals,
    with_label,
)

LEGAL = "A LIME report alone is not legal compliance."


class TestIntervals:
    def test_an_interval_has_the_decimals_of_the_weight(self):
        assert "+0.164    0.144 to 0.184" in row(terminal(SAMPLED), "bill_length")
        assert "-0.150  -0.170 to -0.130" in row(terminal(SAMPLED), "island")

    def test_a_weight_that_may_be_either_sign_has_a_bar_of_light_shade(self):
        shown = terminal(SAMPLED)
        assert row(shown, "sex = male").endswith("│░")
        assert row(shown, "bill_length").endswith("████")
        assert "░ the interval contains 0: the sign is not sure." in shown
        assert "░" not in terminal(EXACT)

    def test_only_the_order_that_is_supported_is_claimed(self):
        shown = terminal(SAMPLED)
        ranks = [row(shown, name).split("│")[0].rstrip(" █").split()[-1]
                 for name in ("bill_length", "island", "flipper", "sex")]  # fmt: skip
        assert ranks == ["1", "2-3", "2-3", "4"]
        assert [item["ranks"] for item in label(SAMPLED)["attributions"]] == [
            None, [2, 3], [2, 3], None]  # fmt: skip
        found = [(line["rank"], line["rank_first"], line["rank_last"]) for line in lines(SAMPLED)]
        assert found == [("1", "", ""), ("2", "2", "3"), ("3", "2", "3"), ("4", "", "")]

    def test_without_ties_there_is_no_column_of_ranks(self):
        assert "rank" not in terminal(EXACT)

    def test_an_exact_weight_shows_no_interval(self):
        shown = terminal(EXACT)
        assert "+0.164         exact" in shown
        assert " to " not in row(shown, "bill_length")
        assert "sampling error only" not in shown
        assert "Exact: no sampling error in LIME's large-sample weights;" in shown
        assert "agreement" not in shown  # two exact runs agree: no news
        assert label(EXACT)["interval"] == "exact"
        assert label(EXACT)["attributions"][0]["low"] == 0.164

    def test_no_interval_is_a_dash_with_the_reason_once(self):
        made = with_label(PENGUIN, no_interval="100 samples are too few for 8 replicates.")
        two = replace(made, explanations=made.explanations * 2)
        shown = terminal(two)
        assert re.search(r"\+0\.164 +- ", row(shown, "bill_length"))
        assert shown.count("No interval: 100 samples are too few for 8 replicates.\n") == 1
        assert label(made)["no_interval"] == "100 samples are too few for 8 replicates."
        assert lines(made)[0]["low"] == ""

    def test_an_engine_without_intervals_has_no_column_for_them(self):
        assert "95%" not in terminal(TABULAR)

    @pytest.mark.parametrize(
        ("factor", "expected"),
        [(1e6, "1.44e+05 to 1.84e+05"), (1e-6, "1.44e-07 to 1.84e-07")],
    )  # fmt: skip
    def test_any_scale_keeps_its_digits(self, factor, expected):
        parts = tuple(
            replace(part, weight=part.weight * factor, low=part.low * factor,
                    high=part.high * factor)
            for part in attributions(SAMPLED)
        )  # fmt: skip
        shown = row(terminal(with_label(SAMPLED, parts)), "bill_length")
        assert expected in shown

    def test_a_constant_model_has_weights_and_intervals_of_0(self):
        parts = tuple(
            replace(part, weight=0.0, low=0.0, high=0.0, ranks=(1, 4))
            for part in attributions(SAMPLED)
        )
        made = with_label(SAMPLED, parts, fidelity=None, r2_fit=None, stability=None, flips=())
        shown = terminal(made)
        assert re.search(r" 0  +0 to 0 .* 1-4 +│$", row(shown, "bill_length"))
        assert "fidelity undefined: the model answers the same for every sample" in shown
        assert "Weight 0 does not mean unused" in shown
        assert "░" not in shown
        assert explained(made)["labels"][0]["fidelity"] is None

    def test_p_sign_is_not_shown_as_certain_where_it_is_a_number(self):
        sentence = "sign_probability is approximate: 1 stands for anything above 0.999."
        assert sentence in explained(SAMPLED)["caveats"]
        assert sentence not in explained(EXACT)["caveats"]
        assert sentence in lines(SAMPLED)[0]["caveats"]
        assert "sign_probability" not in terminal(SAMPLED)


class TestWidths:
    @pytest.mark.parametrize("made", [SAMPLED, EXACT, with_label(PENGUIN, no_interval="few")])
    @pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
    def test_the_table_fits_and_keeps_its_axis(self, made, width):
        table = [line.rstrip() for line in on_terminal(made, width).split("\n")
                 if "│" in line or "┼" in line]  # fmt: skip
        assert len(table) == 7
        assert max(map(len, table)) <= width
        assert len({re.search("[│┼]", line).start() for line in table}) == 1

    def test_a_narrow_terminal_shortens_intervals_before_it_cuts_labels(self):
        shown = on_terminal(SAMPLED, 80)
        assert "39.23 < bill_length_mm <= 44.45" in shown
        assert "+0.164  0.020" in row(shown, "bill_length")
        assert "95% ±" in shown

    @pytest.mark.parametrize("width", [60, 80])
    def test_facts_are_not_torn_apart(self, width):
        shown = [line.strip() for line in on_terminal(SAMPLED, width).split("\n")]
        assert any(line.endswith("surrogate 0.910, model 0.960") for line in shown)
        assert any(line.endswith("14 rows share all bins (0.910 to 1.000)") for line in shown)


class TestFidelity:
    def test_held_out_comes_first_and_the_others_beside_it(self):
        shown = terminal(SAMPLED)
        assert "fidelity R² 0.62 fair (held out)   surrogate 0.910, model 0.960" in shown
        assert "R² in sample 0.64 · on 569 real rows 0.58" in shown

    def test_the_word_fits_the_number_shown(self):
        assert "R² 0.70 good" in terminal(with_label(SAMPLED, fidelity=0.699))
        assert "R² 0.30 fair" in terminal(with_label(SAMPLED, fidelity=0.295001))

    @pytest.mark.parametrize(("value", "text"), [(-0.001, "R² 0.00 low"), (-0.5, "R² -0.50 low"),
                                                 (-1e9, "R² below -10 low")])  # fmt: skip
    def test_held_out_r2_may_be_anything_below_0(self, value, text):
        assert text in terminal(with_label(SAMPLED, fidelity=value))

    @pytest.mark.parametrize(
        ("settings", "hint"),
        [
            ({"discretizer": "quartile"}, "try --discretizer none, --kernel-width auto or --tune"),
            ({"discretizer": "none"}, "try --kernel-width auto or --tune"),
            ({"discretizer": "none", "auto_width": True}, "try --tune"),
        ],
    )
    def test_a_low_one_comes_with_what_is_left_to_try(self, settings, hint):
        shown = terminal(with_label(SAMPLED, fidelity=0.1, settings=settings))
        assert f"  {hint}\n" in shown

    def test_where_there_is_none_nothing_else_is_claimed(self):
        made = with_label(SAMPLED, fidelity=None, r2_fit=None)
        assert "fidelity not measured" in terminal(made)
        zeros = tuple(replace(part, weight=0.0) for part in attributions(PENGUIN))
        made = with_label(PENGUIN, zeros, r2_fit=None, no_interval="no sample has a weight")
        assert "fidelity undefined: no sample has a weight" in terminal(made)

    def test_only_options_of_the_kind_are_named(self):
        assert "  try --kernel-width auto\n" in terminal(with_label(TEXT, fidelity=0.1))

    def test_no_hint_where_it_is_fair(self):
        assert "try --" not in terminal(SAMPLED)


class TestSteadiness:
    def test_stability_names_what_it_counts(self):
        assert "top-4 agreement of two such runs 0.87" in terminal(SAMPLED)

    def test_repeats_stand_beside_it(self):
        made = with_label(SAMPLED, repeats=Repeats(10, 0.81))
        shown = terminal(made).replace("\n  ", " · ")
        assert "agreement of two such runs 0.87 · of 10 runs with other seeds 0.81" in shown
        assert label(made)["repeats"] == {"runs": 10, "jaccard": 0.81}

    def test_exact_weights_have_nothing_to_agree_on(self):
        assert "agreement" not in terminal(EXACT)

    def test_settled_or_not_and_after_how_many_calls(self):
        assert "order of the top 4 settled after 4,096 calls" in terminal(SAMPLED)
        shown = terminal(with_label(SAMPLED, settled=False))
        assert "order of the top 4 not settled after 4,096 calls" in shown
        assert "settled" not in terminal(EXACT)


class TestNearness:
    def test_a_table_counts_bins_and_rows(self):
        made = with_label(SAMPLED, locality=Locality(18.4, 30), cell=Cell(1, 0.91, 0.91))
        shown = terminal(made).replace("\n  ", "; ")
        assert (
            "a typical neighbour shares 18 of 30 feature bins; 1 row shares all bins (0.910)"
            in shown
        )

    def test_nobody_has_no_range(self):
        made = with_label(SAMPLED, cell=Cell(0, float("nan"), float("nan")))
        assert "no row shares all bins\n" in terminal(made)
        assert label(made)["cell"] == {"rows": 0, "low": None, "high": None}
        assert lines(made)[0]["cell_low"] == ""

    def test_undiscretised_neighbors_lie_toward_the_mean(self):
        made = with_label(SAMPLED, locality=Locality(0.0, 0, 0.94), cell=None,
                          settings={"discretizer": "none"})  # fmt: skip
        text = "the middle of the neighbourhood lies 94% of the way to the background's mean"
        assert text in terminal(made)
        assert explained(made)["locality"] == {"shared": 0.0, "of": 0, "toward_mean": 0.94}

    def test_texts_keep_words_and_pictures_show_superpixels(self):
        near = Locality(60.2, 119)
        assert "keeps 60 of 119 words" in terminal(with_label(TEXT, locality=near))
        assert "shows 60 of 119 superpixels" in terminal(with_label(picture(), locality=near))


class TestFlips:
    def test_a_row_tells_from_what_to_what(self):
        assert "would flip to Chinstrap: bill length 38.1 -> 46.2\n" in terminal(SAMPLED)
        assert label(SAMPLED)["flips"] == [
            {"to": "Chinstrap", "index": 1, "value": 0.52,
             "changes": [{"feature": "bill length", "index": 0, "from": 38.1, "to": 46.2}]}
        ]  # fmt: skip
        assert lines(SAMPLED)[0]["flips"] == "bill length 38.1 -> 46.2 gives Chinstrap"

    def test_a_value_may_be_missing_or_hard_to_tell_from_the_next(self):
        changes = (Change("age", 0, None, 40), Change("t", 1, 1.00000001, 1.00000002))
        made = with_label(SAMPLED, flips=(replace(FLIP, changes=changes),))
        assert ": age missing -> 40, t 1.00000001 -> 1.00000002\n" in terminal(made)

    def test_words_and_superpixels_go(self):
        gone = (Change("win", 0, "win", None), Change("it", 1, "it", None))
        made = with_label(TEXT, flips=(Flip("no", 0, 0.6, gone),))
        assert 'would flip to no without "win", "it"\n' in terminal(made)
        assert lines(made)[0]["flips"] == 'without "win", "it" gives no'
        hidden = (Change("superpixel 1", 1, True, False),)
        made = with_label(picture(), flips=(Flip("no", 0, 0.6, hidden),))
        assert "would flip to no without superpixel 1\n" in terminal(made)

    def test_nothing_found_is_said_nobody_looked_is_not(self):
        assert "no flip found among 2,079 samples" in terminal(EXACT)
        assert label(EXACT)["flips"] == []
        assert "flip " not in terminal(with_label(SAMPLED, flips=None))
        assert label(with_label(SAMPLED, flips=None))["flips"] is None

    def test_a_regression_goes_past_its_threshold(self):
        found = Flip("value", 0, 152.25, (Change("bmi", 2, 0.06, -0.02),))
        made = with_label(SAMPLED, label="value", flips=(found,), settings={"flip_threshold": 160})
        made = replace(made, model={**made.model, "task": "regression", "n_classes": None})
        assert "value would go past 160 to 152.25: bmi 0.06 -> -0.02\n" in terminal(made)
        assert lines(made)[0]["flips"] == "bmi 0.06 -> -0.02 gives value = 152.25"
        none = with_label(made, flips=(), settings={"flip_threshold": 160})
        assert "no change found that goes past 160 among 4,096 samples" in terminal(none)


class TestSentences:
    @pytest.mark.parametrize("made", [TABULAR, TEXT, picture(), SAMPLED, EXACT])
    def test_no_report_is_legal_compliance(self, made):
        assert terminal(made).count(LEGAL) == 1
        assert terminal(made).rstrip().endswith(LEGAL)
        assert LEGAL in explained(made)["caveats"]
        assert LEGAL in lines(made)[0]["caveats"]

    def test_each_is_said_once_for_many_explanations(self):
        two = replace(SAMPLED, explanations=SAMPLED.explanations * 2 + EXACT.explanations)
        shown = terminal(two)
        for sentence in ("95% interval: sampling error only", "Exact: no sampling", LEGAL):
            assert shown.count(sentence) == 1
        assert shown.rstrip().endswith(LEGAL)

    def test_an_interval_says_what_it_leaves_out(self):
        wanted = ("95% interval: sampling error only, per weight. Not the choice of background,"
                  " kernel or bins, and not the model's own error.")  # fmt: skip
        assert wanted in terminal(SAMPLED)
        assert wanted in explained(SAMPLED)["caveats"]
        assert "bins" not in terminal(with_label(TEXT, with_intervals(attributions(TEXT), 0.01),
                                                 interval="pairs"))  # fmt: skip

    def test_a_recovered_background_is_approximate(self):
        sentence = ("Background recovered from the model: approximate; weights may differ from"
                    " those with the training data.")  # fmt: skip
        assert sentence in terminal(EXACT)
        assert sentence in explained(EXACT)["caveats"]
        assert sentence not in explained(SAMPLED)["caveats"]

    @pytest.mark.parametrize("key", ["protected", "immutable"])
    def test_a_protected_column_that_is_shown(self, key):
        sentence = (
            "A low weight does not show absence of discrimination: other columns can stand in."
        )
        assert sentence in terminal(with_label(SAMPLED, settings={key: ["sex"]}))
        assert sentence not in terminal(with_label(SAMPLED, settings={key: ["race"]}))

    def test_numbers_are_in_the_sentences_of_formats_without_a_footer(self):
        near = "A typical neighbour shares 3.2 of 6 feature bins; 14 rows share all bins"
        assert near in explained(SAMPLED)["caveats"][-1]

    def test_calls_for_the_weights_are_told_from_the_others(self):
        shown = terminal(EXACT)
        assert ("sampler exact · 0 model calls for the weights · 2,079 to check and measure\n"
                in shown)  # fmt: skip
        assert "background recovered from the model\n" in shown
        assert explained(EXACT)["weight_calls"] == 0


class TestChances:
    def test_signs_and_places_stand_beside_the_intervals(self):
        parts = SAMPLED.explanations[0].surrogates[0].attributions
        unsure = [replace(parts[0], sign_probability=0.9996, top_probability=0.9999),
                  *(replace(part, sign_probability=0.93, top_probability=0.992)
                    for part in parts[1:])]  # fmt: skip
        shown = terminal(with_label(SAMPLED, tuple(unsure)))
        assert "P(sign)" in shown
        assert f"P(top {len(parts)})" in shown
        first, second = (next(line for line in shown.splitlines() if part.condition in line)
                         for part in parts[:2])  # fmt: skip
        assert "> 0.999" in first
        assert "0.93" in second
        assert "0.992" in second

    def test_exact_weights_have_none(self):
        assert "P(sign)" not in terminal(EXACT)
