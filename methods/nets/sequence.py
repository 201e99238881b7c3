"""Posteriors of the static and dynamic codes, and the prior over time (methods of the DSVAE family).

Shape legend: B clips, T frames, g embedding, H hidden, D latent. Log-variances are log-variances everywhere.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqdis.methods.base import randn

DynamicKind = Literal["causal", "nested", "rnn_bilstm"]


class Gaussian(NamedTuple):
    """A diagonal Gaussian: `mean` and `logvar`, both (..., D)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """A reparameterised draw, shaped like `mean`."""
        noise = randn(self.mean.shape, generator, self.mean.device, self.mean.dtype)
        return self.mean + torch.exp(0.5 * self.logvar) * noise


class GaussianHead(nn.Module):
    """Two linear maps from a state (..., in_dim) to mean and log-variance (..., dim).

    Args:
        in_dim: size of the state.
        dim: size of the code.
        leaky: end both in LeakyReLU 0.2, as the released C-DSVAE code does for the static code. Its means
            are then
            mostly positive and negative log-variances shrink fivefold, so the posterior fits N(0, I) badly.
    """

    def __init__(self, in_dim: int, dim: int, leaky: bool = False) -> None:
        super().__init__()
        self.to_mean = nn.Linear(in_dim, dim)
        self.to_logvar = nn.Linear(in_dim, dim)
        self.leaky = leaky

    def _map(self, linear: nn.Linear, state: Tensor) -> Tensor:
        out = linear(state)
        # Densities and their exponentials are computed in the weights' precision, also under autocast.
        return (F.leaky_relu(out, 0.2) if self.leaky else out).to(linear.weight.dtype)

    def mean(self, state: Tensor) -> Tensor:
        """The mean only, for views whose variance no loss reads."""
        return self._map(self.to_mean, state)

    def forward(self, state: Tensor) -> Gaussian:
        return Gaussian(self.mean(state), self._map(self.to_logvar, state))


class StaticPosterior(nn.Module):
    """q(s | x_1:T): a bidirectional LSTM, the forward output at T beside the backward one at 1, linear heads.

    Args:
        embedding_dim: g.
        hidden_dim: H, of each direction.
        static_dim: D.
        leaky_heads: see `GaussianHead`.
    """

    def __init__(self, embedding_dim: int, hidden_dim: int, static_dim: int, leaky_heads: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.head = GaussianHead(2 * hidden_dim, static_dim, leaky_heads)

    def states(self, features: Tensor) -> Tensor:
        """Outputs of both directions (B, T, 2H) from embeddings (B, T, g)."""
        out: Tensor = self.lstm(features)[0]
        return out

    def summary(self, states: Tensor) -> Tensor:
        """What the heads read, (B, 2H): each direction's output after its last step."""
        hidden = self.lstm.hidden_size
        return torch.cat([states[:, -1, :hidden], states[:, 0, hidden:]], dim=1)

    def forward(self, features: Tensor) -> Gaussian:
        """Mean and log-variance (B, D) from embeddings (B, T, g)."""
        head: Gaussian = self.head(self.summary(self.states(features)))
        return head


class DynamicPosterior(nn.Module):
    """q(z_t | ...), in one of three readings.

    `causal`: an LSTM over the embeddings, one call for the whole clip: q(z_t | x_<=t). The default.
    `nested`: an LSTM that also reads the sampled z_<t, as the C-DSVAE paper writes: q(z_t | z_<t, x_<=t). A
    loop. `rnn_bilstm`: a tanh RNN over the static posterior's states, as the released code does: q(z_t |
    x_1:T). Its input
        is (B, T, 2H) states and not embeddings.

    Args:
        in_dim: size of the input of one frame: g, or 2H for `rnn_bilstm`.
        hidden_dim: H.
        dynamic_dim: D.
        kind: which reading.
    """

    def __init__(self, in_dim: int, hidden_dim: int, dynamic_dim: int, kind: DynamicKind = "causal") -> None:
        super().__init__()
        self.kind = kind
        self.rnn: nn.LSTM | nn.RNN | nn.LSTMCell
        if kind == "causal":
            self.rnn = nn.LSTM(in_dim, hidden_dim, batch_first=True)
        elif kind == "nested":
            self.rnn = nn.LSTMCell(in_dim + dynamic_dim, hidden_dim)
        elif kind == "rnn_bilstm":
            self.rnn = nn.RNN(in_dim, hidden_dim, batch_first=True)
        else:
            raise ValueError(f"dynamic posterior must be 'causal', 'nested' or 'rnn_bilstm'; got {kind!r}")
        self.head = GaussianHead(hidden_dim, dynamic_dim)

    def states(self, inputs: Tensor) -> Tensor:
        """Outputs (B, T, H) of the recurrent layer from inputs (B, T, in_dim); not for `nested`."""
        out: Tensor = self.rnn(inputs)[0]
        return out

    def forward(self, inputs: Tensor, generator: torch.Generator | None = None) -> tuple[Gaussian, Tensor]:
        """Posterior (B, T, D) of each step and its sample (B, T, D), or its mean if no generator is given."""
        if self.kind == "nested":
            return self._nested(inputs, generator)
        posterior = self.head(self.states(inputs))
        return posterior, posterior.mean if generator is None else posterior.sample(generator)

    def mean(self, inputs: Tensor) -> Tensor:
        """Means (B, T, D) only; under `nested`, those of a roll on means."""
        if self.kind == "nested":
            return self._nested(inputs, None)[1]
        return self.head.mean(self.states(inputs))

    def _nested(self, inputs: Tensor, generator: torch.Generator | None) -> tuple[Gaussian, Tensor]:
        z = inputs.new_zeros(len(inputs), self.head.to_mean.out_features)
        state: tuple[Tensor, Tensor] | None = None
        steps, samples = [], []
        for features in inputs.unbind(1):
            state = self.rnn(torch.cat([features, z.to(features.dtype)], dim=1), state)
            step = self.head(state[0])
            z = step.mean if generator is None else step.sample(generator)
            steps.append(step)
            samples.append(z)
        means, logvars = (torch.stack(values, dim=1) for values in zip(*steps, strict=True))
        return Gaussian(means, logvars), torch.stack(samples, dim=1)


class LstmPrior(nn.Module):
    """p(z_t | z_<t): stacked LSTM layers and linear heads; z_0 and all states are zero.

    Args:
        dynamic_dim: D.
        hidden_dim: H.
        n_layers: the released C-DSVAE code stacks two, its paper names one.
    """

    def __init__(self, dynamic_dim: int, hidden_dim: int, n_layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dynamic_dim, hidden_dim, n_layers, batch_first=True)
        self.head = GaussianHead(hidden_dim, dynamic_dim)

    def states(self, z: Tensor) -> Tensor:
        """States (B, T, H) that have read z_<t of z (B, T, D): teacher-forced, in one call."""
        out: Tensor = self.lstm(F.pad(z[:, :-1], (0, 0, 1, 0)))[0]
        return out

    def forward(self, z: Tensor) -> Gaussian:
        """p(z_t | z_<t) for every step of the sequences z (B, T, D)."""
        head: Gaussian = self.head(self.states(z))
        return head

    def sample(self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False) -> Tensor:
        """Free-running draws (n, T, D): each step is fed the drawn step before it.

        Args:
            n: number of sequences.
            n_frames: T.
            generator: draws the steps, on whichever device it is.
            means: return the step means of the roll on drawn values (the released evaluation decodes these).
        """
        weight = self.head.to_mean.weight
        z = weight.new_zeros(n, 1, self.head.to_mean.out_features)
        state: tuple[Tensor, Tensor] | None = None
        steps = []
        for _ in range(n_frames):
            hidden, state = self.lstm(z, state)
            step = self.head(hidden)
            z = step.sample(generator)
            steps.append(step.mean if means else z)
        return torch.cat(steps, dim=1)
