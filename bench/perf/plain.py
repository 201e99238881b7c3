"""A plain C-DSVAE step, in the field's usual style, to measure ours against. Same weights, same numbers, more work.

Every view goes through a whole forward pass, decoder and prior included; the prior is a loop over cells; pairwise
densities are (T, B, B, D) tensors; inputs are float32 arrays in the released loader's layout. It is no straw man: the
convolutions, which are most of the arithmetic, are torch's own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqdis.bench.perf.testbed import Bed, Settings
from seqdis.bench.plan.catalog import MethodRef
from seqdis.methods.base import Batch, Context
from seqdis.methods.cdsvae import CDSVAE
from seqdis.methods.nets.convolutions import Double, FromPixel, ToPixel
from seqdis.methods.nets.sequence import Gaussian

TORCHS: dict[type[nn.Module], type[nn.Module]] = {
    ToPixel: nn.Conv2d,
    FromPixel: nn.ConvTranspose2d,
    Double: nn.ConvTranspose2d,
}
"""Our layers and those of torch that they are a faster form of."""


def use_torchs_layers(method: nn.Module) -> None:
    """Makes torch's own of a method's convolutions, in place: the same parameters, the same numbers."""
    for module in method.modules():
        module.__class__ = TORCHS.get(type(module), type(module))


class TorchsBed(Bed):
    """Any method stepped as ours is, with torch's own convolutions."""

    def __init__(self, ref: MethodRef, settings: Settings) -> None:
        super().__init__(ref, settings)
        use_torchs_layers(self.trainer.method)


class PlainBed(TorchsBed):
    """C-DSVAE stepped the plain way: float32 views from a loader's layout, `plain_loss`, unfused Adam."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(MethodRef("cdsvae"), settings)
        trainer = self.trainer
        self.optimiser = torch.optim.Adam(trainer.method.parameters(), lr=1e-3, foreach=False, fused=False)
        batch = trainer.batch(self.index)
        assert batch.motion_view is not None
        # (B, T, H, W, C) float32, as the released loader hands clips over.
        self.stored = [view.permute(0, 1, 3, 4, 2).contiguous() for view in (batch.x, batch.motion_view)]

    def step(self) -> None:
        """One plain step."""
        trainer = self.trainer
        batch = trainer.batch(self.index)
        batch.x, batch.motion_view = (view.permute(0, 1, 4, 2, 3) for view in self.stored)
        assert isinstance(trainer.method, CDSVAE)
        terms = plain_loss(trainer.method, batch, trainer.context())
        self.optimiser.zero_grad()
        terms["total"].backward()
        self.optimiser.step()
        # The released step reads every loss back for its progress line.
        for value in terms.values():
            float(value.detach())


def plain_loss(method: CDSVAE, batch: Batch, ctx: Context) -> dict[str, Tensor]:
    """The terms of C-DSVAE's loss computed the plain way; equal to `method.loss` for the same generator state.

    Args:
        method: with the default (causal) posterior and all terms weighted.
        batch: x, content_view and motion_view.
        ctx: the training-set size and the generator.
    """
    assert batch.content_view is not None
    assert batch.motion_view is not None
    rows = torch.arange(len(batch.x), device=batch.x.device)[:, None]
    shuffled = batch.x[rows, batch.content_view]
    own = _forward(method, batch.x, ctx.generator)
    # The released step runs the whole model on each view and throws all but one mean away.
    content = _forward(method, shuffled, None, keep_statistics=False)
    motion = _forward(method, batch.motion_view, None, keep_statistics=False)
    static, dynamic, s, z, prior, decoded = own
    terms = {
        "recon": (batch.x - decoded).square().sum() / len(batch.x),
        "kl_static": -0.5 * (1 + static.logvar - static.mean.square() - static.logvar.exp()).sum() / len(batch.x),
        "kl_dynamic": 0.5
        * (
            prior.logvar
            - dynamic.logvar
            + (dynamic.logvar.exp() + (dynamic.mean - prior.mean).square()) / prior.logvar.exp()
            - 1
        ).sum()
        / len(batch.x),
        "contrastive_static": _infonce(static.mean, content[0].mean, method.config.temperature),
        "contrastive_dynamic": _infonce(dynamic.mean.flatten(1), motion[1].mean.flatten(1), method.config.temperature),
        "mi_cross": plain_information(static, dynamic, s, z, ctx.n_train),
    }
    weights = {
        **method.elbo_weights(),
        "contrastive_static": method.config.contrastive_static_weight,
        "contrastive_dynamic": method.config.contrastive_dynamic_weight,
        "mi_cross": method.config.mi_cross_weight,
    }
    return {"total": torch.stack([weights[name] * term for name, term in terms.items()]).sum(), **terms}


def _forward(
    method: CDSVAE, x: Tensor, generator: torch.Generator | None, *, keep_statistics: bool = True
) -> tuple[Gaussian, Gaussian, Tensor, Tensor, Gaussian, Tensor]:
    features = method.frame_encoder(x, keep_statistics)
    static = method.static_posterior(features)
    dynamic, z = method.dynamic_posterior(features, generator)
    s = static.mean if generator is None else static.sample(generator)
    prior = _prior_by_cells(method, z)
    decoded = method.frame_decoder(method.frame_codes(s, z), keep_statistics)
    return static, dynamic, s, z, prior, decoded


def _prior_by_cells(method: CDSVAE, z: Tensor) -> Gaussian:
    """p(z_t | z_<t), one frame and one layer at a time."""
    lstm = method.prior.lstm
    zeros = z.new_zeros(len(z), lstm.hidden_size)
    states = [(zeros, zeros) for _ in range(lstm.num_layers)]
    before = torch.zeros_like(z[:, 0])
    means, logvars = [], []
    for step in z.unbind(1):
        h = before
        for layer in range(lstm.num_layers):
            w_ih, w_hh, b_ih, b_hh = (
                getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            i, f, g, o = (F.linear(h, w_ih, b_ih) + F.linear(states[layer][0], w_hh, b_hh)).chunk(4, dim=1)
            cell = f.sigmoid() * states[layer][1] + i.sigmoid() * g.tanh()
            h = o.sigmoid() * cell.tanh()
            states[layer] = (h, cell)
        mean, logvar = method.prior.head(h)
        means.append(mean)
        logvars.append(logvar)
        before = step
    return Gaussian(torch.stack(means, 1), torch.stack(logvars, 1))


def _infonce(anchors: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Both directions over 2B rows; the self term is left out of each denominator."""
    rows = torch.cat([anchors, positives])
    similarity = F.cosine_similarity(rows[:, None], rows[None], dim=2) / temperature
    n = len(anchors)
    partner = (torch.arange(2 * n, device=rows.device) + n) % (2 * n)
    itself = torch.eye(2 * n, dtype=torch.bool, device=rows.device)
    rest = torch.logsumexp(similarity.masked_fill(itself, -math.inf), dim=1)
    return (rest - similarity[torch.arange(2 * n, device=rows.device), partner]).mean()


def plain_information(static: Gaussian, dynamic: Gaussian, s: Tensor, z: Tensor, n_train: int) -> Tensor:
    """Mean over frames of I(s; z_t) by minibatch-weighted sampling, centred by log N as the suite logs it.

    The static density is computed for every frame, over a (T, B, B, Ds) tensor, as the released code does.
    """
    n, frames = z.shape[:2]
    s_of_frames = s[None, :, None].expand(frames, n, 1, -1)
    of_static = _log_density(s_of_frames, static.mean[None, None], static.logvar[None, None]).sum(-1)
    zt, mean, logvar = (value.transpose(0, 1) for value in (z, dynamic.mean, dynamic.logvar))
    of_dynamic = _log_density(zt[:, :, None], mean[:, None], logvar[:, None]).sum(-1)
    constant = math.log(n * n_train)
    joint = torch.logsumexp(of_static + of_dynamic, 2) - constant
    alone = torch.logsumexp(of_static, 2) + torch.logsumexp(of_dynamic, 2) - 2 * constant
    return (joint - alone).mean() - math.log(n_train)


def _log_density(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (math.log(2 * math.pi) + logvar + (x - mean).square() * torch.exp(-logvar))
