"""LMAC's learner: the shared TD core plus reconstruction, state-awareness and cycle losses on the latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.losses import reconstruction_skill, recovery_losses
from epymarl_lmac.settings.fields import setting
from learners.value_learner import Transitions, ValueLearner


@dataclass(frozen=True)
class LmacLossSettings:
    """The settings that this learner reads beyond those of every run."""

    recon_lambda: float = setting(1.0, "weight of the state reconstruction loss")
    meta_lambda: float = setting(0.1, "weight of the state-awareness loss")
    consistency_lambda: float = setting(1.0, "weight of the cycle loss")
    mse_thres: float = setting(0.05, "squared error below which a state column counts as known (alpha)")
    recon_form: str = setting(
        "variance", '"variance": squared error divided by the state\'s variance; "published": squared error'
    )
    cycle_form: str = setting(
        "stop_latent", '"stop_latent": z is a fixed target; "published": gradient on both sides of the cycle loss'
    )

    def check(self) -> None:
        """Raises SettingsError for a form that does not exist."""
        for key, known in FORMS.items():
            if getattr(self, key) not in known:
                raise SettingsError(f"{key}={getattr(self, key)!r} is not known; choose one of {known}.", key)


FORMS = {"recon_form": ("variance", "published"), "cycle_form": ("stop_latent", "published")}
SMALLEST_VARIANCE = 1e-4  # bounds the weight of the reconstruction loss where the state hardly varies in a batch


class LmacLearner(ValueLearner):
    """L = L_TD + recon_lambda L_rec + meta_lambda L_sai + consistency_lambda L_cyc, each a mean over valid steps.

    The published forms of the reconstruction and cycle losses let the latent collapse where the state is sparse:
    a constant z satisfies the cycle loss, whose scale is that of z, sooner than the reconstruction loss, whose scale
    is the state's small variance, rewards an informative one. By default the squared error is therefore counted in
    units of the state's variance, and z is a fixed target of the cycle encoder; docs/methods/lmac_qmix.md has the
    measurements and the other differences from the released code.

    Source: Bae, Park, Lee, Han, ICML 2026, section 4.
    """

    SETTINGS = LmacLossSettings

    def __init__(self, mac, scheme, logger, args) -> None:
        fields = LmacLossSettings.__dataclass_fields__
        LmacLossSettings(**{name: getattr(args, name) for name in fields}).check()
        super().__init__(mac, scheme, logger, args)
        self.important_state = torch.tensor(mac.bundle.important_state, device=self.device)

    def extra_losses(
        self, transitions: Transitions, online, with_stats: bool, stats: dict[str, Any]
    ) -> dict[str, tuple[float, Tensor]]:
        """Returns the three losses on the latents of all transitions."""
        args, comm, N = self.args, self.mac.comm, self.mac.n_agents
        z_VNZ = online.latent_PNZ[transitions.packing.now_V]
        truth_VI = transitions.state_VS.index_select(1, self.important_state)
        recovery = recovery_losses(comm.decoder(z_VNZ), truth_VI, args.mse_thres)
        recon_loss = recovery.recon_loss
        if args.recon_form == "variance":
            spread = (truth_VI - truth_VI.mean(0)).square().mean()
            recon_loss = recon_loss / spread.clamp(min=SMALLEST_VARIANCE)
        z_target = z_VNZ.detach() if args.cycle_form == "stop_latent" else z_VNZ
        cycle_loss = (z_target - comm.cycle(recovery.joined_VNJ)).square().mean()
        if with_stats:
            with torch.no_grad():
                estimate = recovery.joined_VNJ[..., : truth_VI.shape[1]]
                error = (estimate - truth_VI.unsqueeze(1)).square()
                truth = truth_VI.repeat_interleave(N, dim=0)
                stats["recon_skill"] = reconstruction_skill(estimate.flatten(0, 1), truth)
                stats["recovery_rate"] = (error < args.mse_thres).float().mean()
                stats["latent_std"] = z_VNZ.flatten(0, 1).std(0).mean()
        return {
            "recon_loss": (args.recon_lambda, recon_loss),
            "awareness_loss": (args.meta_lambda, recovery.awareness_loss),
            "cycle_loss": (args.consistency_lambda, cycle_loss),
        }
