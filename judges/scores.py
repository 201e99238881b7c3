"""What an evaluation yields, as the record holds it. No torch here.

Accuracies and error rates are fractions, entropies in nats.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from seqdis.bench.core.rules import Length, Range, Text
from seqdis.bench.core.schema import OPTIONAL, OTHERS, Key, Open
from seqdis.judges.settings import Count, Positive

Fraction = Annotated[float, Range(0.0, 1.0)]
Difference = Annotated[float, Range(-1.0, 1.0)]
Interval = Annotated[tuple[Difference, ...], Length(2, 2)]
Entropy = Annotated[float, Range(-1e-9, 50.0)]
InceptionScore = Annotated[float, Range(1 - 1e-6, 1e9)]
Amount = Annotated[float, Range(0.0, 1e18)]
COUNTS = "(?:[0-9]{1,7} )*[0-9]{1,7}"
Counts = Annotated[str, Text(400_000, COUNTS, empty=False)]
"""Whole numbers as one text with blanks between them, which keeps a record small."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """A judge's scores on one factor, all over the same clips."""

    acc: Annotated[Fraction, "accuracy against the true label"]
    is_: Annotated[InceptionScore, Key("is"), "inception score, exp(H(y) - H(y|x))"]
    h_y_given_x: Annotated[Entropy, "H(y|x): low where the judge is certain of each clip"]
    h_y: Annotated[Entropy, "H(y): high where the judged classes are balanced over the clips"]
    label_entropy: Annotated[
        Entropy | None, OPTIONAL, "of the judged classes: what is diverse has more of it than a blurred average"
    ] = None


FactorScores = dict[str, Scores]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draws:
    """Scores of rebuilt clips, once a prior draw."""

    n_clips: Annotated[Positive, "test clips that were judged in each draw"]
    draws: Annotated[tuple[FactorScores, ...], Length(1, 1000), "scores by factor, one object a prior draw"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Directions:
    """The two directions of the encoder protocol: one code of the test clip is kept, the other one drawn anew."""

    fix_dynamic: Annotated[
        Draws | None, OPTIONAL, "z is the posterior mean of the test clip, s is drawn from its prior"
    ] = None
    fix_static: Annotated[Draws | None, OPTIONAL, "s is the posterior mean of the test clip, z is drawn"] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """How well test clips are rebuilt from their own codes."""

    mse: Annotated[Amount, "squared error, mean over the values of a clip and over clips"]
    sse: Annotated[Amount, "squared error, summed over a clip, mean over clips"]
    factors: Annotated[FactorScores, "the judge on the reconstructions, by factor"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Real:
    """The judge on the real test clips: the ceiling of what it can find in others."""

    factors: Annotated[FactorScores, "scores by factor"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far clips that share a code are judged alike on one factor: scores against no true label."""

    is_: Annotated[InceptionScore | None, OPTIONAL, Key("is"), "as in Scores"] = None
    h_y_given_x: Annotated[Entropy | None, OPTIONAL, "as in Scores"] = None
    h_y: Annotated[Entropy, "as in Scores"]
    label_entropy: Annotated[Entropy | None, OPTIONAL, "as in Scores"] = None
    acc_consistency: Annotated[
        Difference, "share of pairs of clips with the same code that are judged alike, without bias"
    ]
    others: Annotated[dict[str, Annotated[float, Range()]], OTHERS] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency:
    """Clips that share one code while the other one is drawn anew."""

    fix_dynamic: Annotated[dict[str, Agreement] | None, OPTIONAL, "one motion, by factor"] = None
    fix_static: Annotated[dict[str, Agreement] | None, OPTIONAL, "one content, by factor"] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator:
    """A method without an encoder, judged on clips that it generates."""

    matched: Annotated[
        Draws | None, OPTIONAL, "against labels that its own categories were matched with on validation clips"
    ] = None
    labels: Annotated[Draws | None, OPTIONAL, "against the labels that it was given"] = None
    consistency: Annotated[Consistency | None, OPTIONAL, "what clips with one code have in common"] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification(Open):
    """Equal error rates of speaker verification by the static and by the dynamic code."""

    eer_static: Annotated[Fraction, "equal error rate of the static code: low is good"]
    eer_dynamic: Annotated[Fraction, "equal error rate of the dynamic code: high is good"]
    gap: Annotated[Difference, "eer_dynamic - eer_static"]
    n_trials: Annotated[Positive, "pairs that were compared"]
    n_target: Annotated[Count, "pairs of one speaker"]
    n_speakers: Positive
    eer_static_ci: Annotated[Interval | None, OPTIONAL, "95 % interval, by a bootstrap over speakers"] = None
    eer_dynamic_ci: Annotated[Interval | None, OPTIONAL, "the same"] = None
    gap_ci: Annotated[Interval | None, OPTIONAL, "the same"] = None
    options: Annotated[dict[str, Any] | None, OPTIONAL, "how vectors and trials were made"] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe(Open):
    """Accuracy of a linear probe that reads a label frame by frame."""

    dynamic: Annotated[Fraction, "from the dynamic code"]
    static: Annotated[Fraction, "from the static code, the control"]
    chance: Annotated[Fraction, "of always saying the commonest training label"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metrics(Open):
    """All numbers of an evaluation; which of them there are depends on the protocol."""

    directions: Annotated[Directions | None, OPTIONAL, "protocol encoder"] = None
    generator: Annotated[Generator | None, OPTIONAL, "protocol generator"] = None
    verification: Annotated[
        dict[str, Verification] | None,
        OPTIONAL,
        "protocol verification: by utterance, by segment, and variants of how their codes are pooled",
    ] = None
    probes: Annotated[dict[str, Probe] | None, OPTIONAL, "by frame-wise label, such as phone"] = None
    reconstruction: Annotated[Reconstruction | None, OPTIONAL, "of methods with an encoder"] = None
    real: Annotated[Real | None, OPTIONAL, "protocol encoder"] = None
    shuffle: Annotated[
        Amount | None, OPTIONAL, "relative change of the static code when frames are shuffled; 0 is invariant"
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identities:
    """The headline by test identity, for intervals over identities. In one order for all records of the same data."""

    unit: Annotated[str, Text(40, empty=False), "what an identity is: character, video, ..."]
    metric: Annotated[str, Text(200, empty=False), "which accuracy, such as fix_dynamic/action/acc"]
    clips: Annotated[Counts, "test clips of each identity"]
    right: Annotated[Counts, "right clips of each over all prior draws: sum(right) = acc * sum(clips) * draws"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `judges.protocol.evaluate` found: by which protocol, and the numbers."""

    protocol: Literal["encoder", "generator", "verification"]
    metrics: Metrics
    identities: Identities | None = None
