"""Columns and types of the tables that `compare` stores below `compare/`, by file."""

from __future__ import annotations

PAIRS = {
    "comparison": "string",
    "metric": "string",
    "item_id": "string",
    "prompt_id": "string",
    "prompt": "string",
    "category": "string",
    "seed": "int64",
    "b_seed": "Int64",  # the baseline's seed, where the pair is not of one noise; else null
    "a_value": "float64",
    "b_value": "float64",
    "a_failed": "string",  # null, or why there is no picture
    "b_failed": "string",
    "outcome": "float64",  # 1, 0.5 or 0: see core.outcome; null if left out
    "left_out": "string",  # why the pair does not count
}
"""`pairs.parquet`: one row a pair, metric and comparison; a is the candidate, b the baseline."""

RATES = {
    "comparison": "string",
    "metric": "string",
    "direction": "string",
    "category": "string",  # null: all categories together
    "role": "string",  # primary (declared before looking) or exploratory
    "prompts": "int64",  # prompts with a pair that counts
    "seeds": "int64",
    "pairs": "int64",
    "wins": "int64",
    "ties": "int64",
    "losses": "int64",
    "a_failed": "int64",
    "b_failed": "int64",
    "left_out": "int64",  # pairs with a picture on both sides and no score on one
    "a_unpaired": "int64",  # items of the candidate that the baseline lacks
    "b_unpaired": "int64",
    "winning_rate": "float64",  # [0, 1]
    "low": "float64",
    "high": "float64",
    "effective": "float64",  # coin flips that give an interval this wide
    "p_value": "float64",
    "p_method": "string",
    "verdict": "string",  # wins, loses, equivalent, undecided or undefined: decisions.verdict
    "detectable": "float64",  # smallest winning rate that as many flips show in 80 % of cases
    "reason": "string",  # why a number above is null
    "warning": "string",  # why the interval is to be read with care
    "binary": "bool",  # whether all scores are 0 or 1
    "only_a": "Int64",  # pairs where a alone is 1; null unless binary, as the next two
    "only_b": "Int64",
    "mcnemar_p": "float64",  # exact for one seed, by flips of whole prompts for more
    "difference": "float64",  # mean of a - b in the metric's units; risk difference if binary
    "difference_low": "float64",
    "difference_high": "float64",
    "difference_pairs": "int64",  # pairs with a score on both sides
    "difference_prompts": "int64",
    "difference_reason": "string",
    "effect": "float64",  # difference in the baseline's within-prompt seed deviations
    "effect_low": "float64",
    "effect_high": "float64",
    "effect_reason": "string",
    "correlation": "float64",  # of the two scores of a pair
    "correlation_low": "float64",
    "correlation_high": "float64",
    "correlation_reason": "string",
    "crossed": "float64",  # winning rate over all pairs of two different seeds of a prompt
    "crossed_low": "float64",
    "crossed_high": "float64",
    "crossed_prompts": "int64",
    "crossed_reason": "string",
    "decided": "float64",  # wins over wins and losses: see comparison.decided_pairs
    "decided_low": "float64",
    "decided_high": "float64",
    "decided_prompts": "int64",  # prompts with a pair that does not tie
    "decided_reason": "string",
    "heterogeneity_p": "float64",  # of "all categories have one rate"; null in one category
    "heterogeneity_method": "string",
    "clustered": "float64",  # winning rate with the interval over categories as a sample
    "clustered_low": "float64",
    "clustered_high": "float64",
    "clustered_p": "float64",
    "categories": "int64",  # categories with a pair that counts; 0 in one category
    "clustered_reason": "string",
    "shrunken": "float64",  # of one category: its rate drawn towards that of all
    "shrunken_low": "float64",
    "shrunken_high": "float64",
    "shrunken_prompts": "int64",
    "shrunken_reason": "string",
    "without": "float64",  # of one category: the winning rate of all others together
    "without_low": "float64",
    "without_high": "float64",
    "without_prompts": "int64",
    "without_reason": "string",
    "without_p": "float64",
    "without_verdict": "string",
}
"""`winning_rates.parquet`: one row a comparison, metric and category, and one over all."""

SUMMARY = {
    "run": "string",  # candidate, or the comparison's name
    "run_id": "string",
    "metric": "string",
    "direction": "string",
    "mean": "float64",  # over prompts, of the run's own images
    "low": "float64",
    "high": "float64",
    "images": "int64",  # images with a score
    "prompts": "int64",
    "failed": "int64",
    "reason": "string",
    "nfe": "float64",  # mean network evaluations an image, all networks and branches
    "nfe_images": "int64",
    "nfe_by_branch": "string",  # JSON: {"network/branch": mean}
    "seconds": "float64",  # per image, as measured on `device`
    "timed_images": "int64",
    "device": "string",
    "macs": "float64",  # multiply-accumulates an image, without text encoder and decoder
    "se": "float64",  # of the mean, over prompts
    "seed_sd": "float64",  # standard deviation of the seeds' means; null with one seed
    "standing": "string",  # best, tied (not told apart, all runs at once), or null
}
"""`summary.parquet`: one row a run and metric, with what an image cost beside its score."""

SET_SCORES = {
    "run": "string",
    "run_id": "string",
    "metric": "string",
    "title": "string",
    "about": "string",
    "direction": "string",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "images": "int64",
    "failed": "int64",
    "reason": "string",
    "warning": "string",  # why it should not be set beside the candidate's
    "difference": "float64",  # candidate minus this run, over the same images, at this many
    "difference_low": "float64",
    "difference_high": "float64",
    "difference_reason": "string",
    "corrected": "float64",  # the difference without its bias, which unequal spread leaves in it
    "corrected_low": "float64",
    "corrected_high": "float64",
    "corrected_reason": "string",
    "verdict": "string",  # better, worse, undecided or undefined, by the corrected difference
}
"""`set_scores.parquet`: one row a run and set metric."""

AGREEMENT = {
    "comparison": "string",
    "metric": "string",
    "agreement": "float64",  # [0, 1]: share of pairs that metric and people decide alike
    "low": "float64",
    "high": "float64",
    "effective": "float64",
    "prompts": "int64",
    "reason": "string",
    "pairs": "int64",  # pairs with a vote that count
    "people_tied": "int64",  # pairs on which people's votes tie: left out
    "metric_tied": "int64",  # pairs that people decide and the metric does not: one half
    "left_out": "int64",  # pairs with a vote and a failed image, or without a score
    "p_value": "float64",  # of "it agrees in one half"
    "p_method": "string",
    "verdict": "string",  # the metric's, over all its pairs
    "people": "string",  # the people's, over the pairs with a vote
    "same": "boolean",  # whether the two are one; null where either decides nothing
}
"""A row a comparison with votes and metric."""
