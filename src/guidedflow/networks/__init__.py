"""Networks: Equinox modules whose leaves are all arrays, each a function of one observation.

Initialisers and the place of LayerNorm are those of FQL (arXiv 2502.02538) and GFP (arXiv 2512.03973) unless a `Style`
says otherwise. The order of work is observation first: `network.given(observation)` is a function of what remains.
This package does not know how its networks are trained.
"""

from guidedflow.networks.actors import Actor, Decoded, Decoder, MeanActor, OneStepActor
from guidedflow.networks.critics import (
    Aggregate,
    Combine,
    Control,
    Critic,
    LowerBound,
    NoisyCritic,
    StateValue,
    StateValues,
    Values,
)
from guidedflow.networks.encoders import Encoder, Impala, Joined, Unencoded, encoder_of
from guidedflow.networks.fields import (
    ConditionalField,
    Extrapolation,
    Field,
    JumpField,
    NoiseField,
    PartialField,
    VelocityField,
)
from guidedflow.networks.mlp import (
    ELU,
    FLOW_NORM_FIRST,
    MLP,
    NORM_FIRST,
    NORMED,
    PLAIN,
    RELU,
    LayerNorm,
    Linear,
    Norm,
    Style,
    glorot,
)
from guidedflow.networks.times import RawTime, SinusoidalTime, SwiftTime, TimeEmbedding

__all__ = [
    "ELU",
    "FLOW_NORM_FIRST",
    "MLP",
    "NORMED",
    "NORM_FIRST",
    "PLAIN",
    "RELU",
    "Actor",
    "Aggregate",
    "Combine",
    "ConditionalField",
    "Control",
    "Critic",
    "Decoded",
    "Decoder",
    "Encoder",
    "Extrapolation",
    "Field",
    "Impala",
    "Joined",
    "JumpField",
    "LayerNorm",
    "Linear",
    "LowerBound",
    "MeanActor",
    "NoiseField",
    "NoisyCritic",
    "Norm",
    "OneStepActor",
    "PartialField",
    "RawTime",
    "SinusoidalTime",
    "StateValue",
    "StateValues",
    "Style",
    "SwiftTime",
    "TimeEmbedding",
    "Unencoded",
    "Values",
    "VelocityField",
    "encoder_of",
    "glorot",
]
