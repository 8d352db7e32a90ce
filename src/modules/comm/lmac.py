"""LMAC: fixed protocols write the messages, a learned encoder infers a latent from them, agents act on [x, z].

Messages are a fixed function of an episode's extended observations. To act they are computed for the current step.
To learn they are computed once for every episode, all steps in one call, when it enters the replay buffer; where they
would not fit, or in a host that stores no such field, once for every sampled batch. The online and the target network
share them.

Letters: R rows, N agents, M message columns, U width of u = [x, m], H hidden, Z latent, I important state columns, V
transitions, J = 2 I.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.learning.dropout import Dropout
from epymarl_lmac.learning.losses import reconstruction_r2, recovery_losses
from epymarl_lmac.learning.mlp import mlp
from epymarl_lmac.learning.optimiser import OptimiserChoice
from epymarl_lmac.learning.products import Linear
from epymarl_lmac.protocol.analysis.flow import flow_map
from epymarl_lmac.protocol.engine.locate import KEPT, load_bundle_for
from epymarl_lmac.settings.fields import setting
from modules.comm.base import Comm, Kept, LossContext, Sizes, StoredField, Team
from modules.comm.link import LinkSettings
from modules.comm.steps import Steps

if TYPE_CHECKING:
    from epymarl_lmac.protocol.engine.bundle import Bundle
    from epymarl_lmac.protocol.engine.program import Program
    from epymarl_lmac.seam import LmacArgs

MESSAGES = "messages"  # the replay buffer's key
SMALLEST_VARIANCE = 1e-4  # bounds the weight of the reconstruction loss where the state hardly varies in a batch


@dataclass(frozen=True)
class LmacSettings(LinkSettings):
    """LMAC's own settings. Defaults are the published ones unless the sentence says otherwise."""

    protocol_path: str = setting("auto", "folder of a protocol bundle; auto is protocols/<env>/<task>/default")
    protocol_steps: int = setting(
        3,
        "which of the bundle's protocol steps are used, those with a k below it: 0 (no messages), 1 (k = 0), 2 (k = 0 "
        "and 1) or 3 (all)",
        low=0,
        high=3,
    )
    latent_dim: int = setting(128, "width of the latent z that agents act on; published: 20", low=1)
    encoder_lr: float = setting(
        0.0,
        "learning rate of encoder, decoder and cycle encoder, which then have their own optimiser and gradient "
        "clipping; 0 trains them with everything else, as published",
        low=0,
    )
    comm_dropout: float = setting(
        0.1, "dropout probability in encoder, decoder and cycle encoder while learning", low=0, high=0.99
    )
    comm_carry: str = setting(
        "sum",
        "what the encoder's GRU carries on: sum (its output plus the features, as published) or gru (its output)",
        choices=("sum", "gru"),
    )
    normalise_latent: bool = setting(False, "whether z is scaled to zero mean and unit variance over its columns")
    detach_latent: bool = setting(True, "whether the TD loss stops at z (as published) or also trains the encoder")
    message_cache_mib: float = setting(
        1024.0, "replay memory that messages of stored episodes may take, MiB; 0 computes them for every batch", low=0
    )
    recon_lambda: float = setting(1.0, "weight of the state reconstruction loss", low=0)
    meta_lambda: float = setting(0.1, "weight of the state-awareness loss", low=0)
    consistency_lambda: float = setting(1.0, "weight of the cycle loss", low=0)
    mse_thres: float = setting(0.05, "squared error up to which a state column counts as known (alpha)", above=0)
    recon_form: str = setting(
        "variance",
        "reconstruction loss: variance (squared error divided by the state's variance) or published (squared error)",
        choices=("variance", "published"),
    )
    cycle_form: str = setting(
        "stop_latent",
        "cycle loss: stop_latent (z is a fixed target) or published (gradient on both sides)",
        choices=("stop_latent", "published"),
    )


class _Shared:
    """Holds what copies of a controller share: a bundle's programs never change."""

    def __init__(self, bundle: Bundle, programs: list[Program]) -> None:
        self.bundle = bundle
        self.programs = programs

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


class LmacComm(Comm):
    """Protocol messages, the encoder u -> z, the decoder z -> (state estimate, awareness logits), the cycle encoder.

    The total loss is L_TD + recon_lambda L_rec + meta_lambda L_sai + consistency_lambda L_cyc, each a mean over valid
    steps. The published forms of the reconstruction and cycle losses let the latent collapse where the state is sparse:
    a constant z satisfies the cycle loss, whose scale is that of z, sooner than the reconstruction loss, whose scale is
    the state's small variance, rewards an informative one. By default the squared error is therefore counted in units
    of the state's variance, and z is a fixed target of the cycle encoder; docs/methods/lmac_qmix.md has the
    measurements and the other differences from the released code.

    Args:
        team: sizes.
        args: the run's settings: those of ``LmacSettings``, and env and env_args, for which the bundle must be made.

    Raises:
        BundleError: no bundle at ``protocol_path``, or one that is damaged or made for another task.
        SettingsError: ``protocol_steps`` leaves out every step that the bundle has.

    Source: Bae, Park, Lee, Han, "LLM-Guided Communication for Cooperative MARL", ICML 2026, section 4, and the released
    implementation's sizes.
    """

    SETTINGS = LmacSettings
    settings: LmacSettings
    is_slotted = True  # protocols may name agents
    shares_rows = True

    def __init__(self, team: Team, args: LmacArgs) -> None:
        super().__init__(team, args)
        bundle = load_bundle_for(args, n_obs=team.obs_dim)
        programs = [program.to(args.device) for program in self._chosen(bundle)]
        self.shared = _Shared(bundle, programs)
        self.main_optimiser = OptimiserChoice.of(args)
        self.message_dim = sum(program.message_dim for program in programs)
        self.important_state = torch.tensor(bundle.important_state, device=args.device)
        self.senders_NMS = self._senders().to(args.device)
        H, Z, dropout = team.hidden_dim, self.settings.latent_dim, self.settings.comm_dropout
        I = len(bundle.important_state)
        self.encoder = nn.Sequential(
            Linear(team.x_dim + self.message_dim, H),
            nn.ReLU(),
            nn.LayerNorm(H),
            Linear(H, H),
            nn.ReLU(),
            Dropout(dropout),
        )
        self.gru = nn.GRUCell(H, H)
        self.query = Linear(H, H)
        self.key = Linear(H, H)
        self.value = Linear(H, Z)
        normalise = self.settings.normalise_latent
        self.latent_norm = nn.LayerNorm(Z, elementwise_affine=False) if normalise else nn.Identity()
        self.decoder = nn.Sequential(
            Linear(Z, H), nn.ReLU(), Dropout(dropout), Linear(H, H), nn.ReLU(), Linear(H, 2 * I)
        )
        self.cycle = nn.Sequential(
            Linear(2 * I, H),
            nn.ReLU(),
            nn.LayerNorm(H),
            Linear(H, H),
            nn.ReLU(),
            Dropout(dropout),
            Linear(H, Z),
        )

    @classmethod
    def sizes(cls, team: Team, settings: LmacSettings) -> Sizes:
        return Sizes(team.own_dim + settings.latent_dim, team.hidden_dim)

    def _chosen(self, bundle: Bundle) -> list[Program]:
        """Returns the programs with a k below ``protocol_steps``.

        Raises:
            SettingsError: the bundle has none of them.
        """
        below = self.settings.protocol_steps
        chosen = [program for k, program in zip(bundle.steps, bundle.programs, strict=True) if k < below]
        if below and not chosen:
            raise SettingsError(
                f"protocol_steps={below} uses the steps k < {below}, but the bundle has only k = "
                f"{', '.join(map(str, bundle.steps))}; use a greater number, or 0 for no messages.",
                "protocol_steps",
            )
        return chosen

    @property
    def bundle(self) -> Any:
        """The protocol bundle."""
        return self.shared.bundle

    def files(self) -> dict[str, bytes]:
        folder = getattr(self.bundle, "path", None)
        if folder is None:
            return {}
        return {f"{KEPT}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}

    def description(self) -> dict[str, Any]:
        return {"protocol": getattr(self.bundle, "manifest", None)}

    def _senders(self) -> Tensor:
        """Returns which agent each column of each receiver comes from, bool (N, M, N)."""
        N = self.team.n_agents
        parts = [torch.from_numpy(flow_map(program).senders()) for program in self.shared.programs]
        return torch.cat(parts, dim=1) if parts else torch.zeros(N, 0, N, dtype=torch.bool)

    def floats_per_pair(self) -> float:
        N = self.team.n_agents
        others = ~torch.eye(N, dtype=torch.bool, device=self.senders_NMS.device)
        return float((self.senders_NMS.sum(1) * others).sum()) / max(1, N * (N - 1))

    # -- messages ----------------------------------------------------------------------------------------

    def messages(self, steps: Steps) -> Tensor:
        """Returns what the protocols say at all rows, (R, N, M), before the link; one call a protocol.

        Where agents can die, a program reads zeros for what a dead one observes. What it observed while it lived stays
        in the windows: the others heard it then.
        """
        steps, parts = steps.without_the_dead(), []
        for program in self.shared.programs:
            length = program.spec.history
            if length is None:
                parts.append(program.message(steps.x_RND))
            else:
                pieces = [program.message(window_RLND) for window_RLND in steps.windows(length)]
                parts.append(pieces[0] if len(pieces) == 1 else torch.cat(pieces))
        return torch.cat(parts, dim=-1) if parts else steps.x_RND.new_zeros(*steps.x_RND.shape[:2], 0)

    def stored_fields(self, n_steps: int) -> list[StoredField]:
        mebibytes = n_steps * self.team.n_agents * self.message_dim * 4 / 2**20
        if not 0 < mebibytes <= self.settings.message_cache_mib:
            return []
        return [StoredField(MESSAGES, self.message_dim, self.messages)]

    def heard(self, steps: Steps) -> tuple[Tensor, ...]:
        """Returns the parts of u = [x, what arrives], (R, N, D) and (R, N, M); the second only if anything is sent."""
        if self.message_dim == 0:
            return (steps.x_RND,)
        stored = steps.look(MESSAGES)  # only the embedded host stores them
        is_copy = stored is not None and steps.packing is not None  # packed from the episodes; one step is a view
        sent = self.messages(steps) if stored is None else stored
        return steps.x_RND, self.link.fixed(steps, sent, self.senders_NMS, may_overwrite=is_copy)

    # -- the latent --------------------------------------------------------------------------------------

    def inputs(self, steps: Steps, own_RND: Tensor, before_RNH: Tensor | None, kept: Kept) -> tuple[Tensor, ...]:
        features = mlp(self.encoder, *steps.once("u", lambda: self.heard(steps)))
        if self.settings.comm_carry == "sum":
            h = steps.recur("encoder", self.gru, features, residual_RNH=features)
        else:
            h = steps.recur("encoder", self.gru, features) + features
        gate = torch.sigmoid((self.query(features) * self.key(h)).sum(-1, keepdim=True))
        z = self.latent_norm(gate * self.value(h))
        kept["latent"] = z
        return own_RND, z.detach() if self.settings.detach_latent else z

    def optimisers(self) -> dict[str, tuple[Sequence[nn.Parameter], OptimiserChoice]]:
        lr = self.settings.encoder_lr
        return {} if lr == 0 else {"encoder": (list(self.parameters()), replace(self.main_optimiser, lr=lr))}

    def estimated_columns(self) -> Tensor:
        return self.important_state

    def state_estimate(self, kept: Kept) -> Tensor:
        return self.decoder(kept["latent"])[..., : len(self.important_state)]

    def losses(self, context: LossContext) -> dict[str, tuple[float, Tensor]]:
        s, transitions = self.settings, context.transitions
        z_VNZ = context.online.kept["latent"][transitions.packing.now_V]
        truth_VI = transitions.state_VS.index_select(1, self.important_state)
        is_target_fixed = s.cycle_form == "stop_latent"
        recovery = recovery_losses(self.decoder, self.cycle, z_VNZ, truth_VI, s.mse_thres, is_target_fixed)
        recon_loss = recovery.recon_loss
        if s.recon_form == "variance":
            spread = (truth_VI - truth_VI.mean(0)).square().mean()
            recon_loss = recon_loss / spread.clamp(min=SMALLEST_VARIANCE)
        if context.with_stats:
            context.stats.update(self._metrics(recovery.joined_VNJ, truth_VI, z_VNZ))
        return {
            "recon_loss": (s.recon_lambda, recon_loss),
            "awareness_loss": (s.meta_lambda, recovery.awareness_loss),
            "cycle_loss": (s.consistency_lambda, recovery.cycle_loss),
        }

    @torch.no_grad()
    def _metrics(self, joined_VNJ: Tensor, truth_VI: Tensor, z_VNZ: Tensor) -> dict[str, Tensor]:
        estimate = joined_VNJ[..., : truth_VI.shape[1]]
        error = (estimate - truth_VI.unsqueeze(1)).square()
        truth = truth_VI.repeat_interleave(self.team.n_agents, dim=0)
        return {
            "recon_r2": reconstruction_r2(estimate.flatten(0, 1), truth),
            "recovery_rate": (error < self.settings.mse_thres).float().mean(),
            "latent_std": z_VNZ.flatten(0, 1).std(0).mean(),
        }
