"""LMAC's controller: fixed protocols write the messages, a learned encoder reads them, the agent acts on [x, z].

Messages are a fixed function of an episode's extended observations. To act they are computed for the current
step. To learn they are computed once for every episode, all steps in one call, when it enters the replay buffer; where
they would not fit, or in a host that stores no such key, once for every sampled batch. The online and the target
network share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from controllers.sequence_controller import SequenceMAC, SharedInputs, Unrolled
from epymarl_lmac.learning.packing import Packing
from epymarl_lmac.protocol.flow import flow_map
from epymarl_lmac.protocol.locate import load_bundle_for
from epymarl_lmac.settings.fields import setting
from modules.comm.channel import Channel, ChannelSettings, channel_settings
from modules.comm.lmac import LmacComm

MESSAGES = "messages"  # the replay buffer's key
WINDOW_FLOATS = 2**25  # history windows are built in pieces of at most this many numbers (128 MiB)


@dataclass(frozen=True)
class LmacSettings(ChannelSettings):
    """The settings that this controller reads beyond those of every run; the channel's among them."""

    protocol_path: str = setting("auto", 'folder of a protocol bundle; "auto" is protocols/<env>/<task>/default')
    protocol_steps: int = setting(
        3, "how many of the bundle's protocol steps are used: 0 (no messages), 1, 2 or 3 (k = 0, 1, 2)"
    )
    latent_dim: int = setting(20, "width of the latent z on which agents act", low=1)
    comm_dropout: float = setting(
        0.1, "dropout probability in encoder, decoder and cycle encoder while learning", low=0, high=1
    )
    comm_carry: str = setting(
        "sum", 'what the encoder\'s GRU carries on: "sum" (output plus features, published) or "gru"'
    )
    normalise_latent: bool = setting(False, "z is scaled to zero mean and unit variance over its columns")
    detach_latent: bool = setting(True, "the TD loss stops at z (published); False: it also trains the encoder")
    message_cache_mib: float = setting(
        1024, "replay memory that stored messages may take, MiB; 0 computes them for every batch", low=0
    )
    zero_messages: bool = setting(False, "every message is replaced by zeros, a control")
    zero_test_messages: bool = setting(False, "the same in evaluation only")


@dataclass
class LmacInputs(SharedInputs):
    """The agent's own inputs, and what the message encoder reads."""

    u_PNU: Tensor  # [x, messages]


class LmacMAC(SequenceMAC):
    """Agents that act on what a protocol bundle tells them.

    Args:
        scheme, groups, args: as for ``SequenceMAC``; ``args`` also needs the fields of ``LmacSettings``.

    Raises:
        BundleError: no bundle at ``protocol_path``, or one that is damaged or made for another task.

    Source: Bae, Park, Lee, Han, ICML 2026, section 4.
    """

    SETTINGS = LmacSettings

    def __init__(self, scheme, groups, args) -> None:
        self.bundle = load_bundle_for(args, n_obs=_width(scheme["obs"]["vshape"]))
        self.programs = [p.to(args.device) for p in self.bundle.programs[: args.protocol_steps]]
        self.history = self.bundle.history
        self.message_dim = sum(p.message_dim for p in self.programs)
        super().__init__(scheme, groups, args)
        self.comm = LmacComm(
            input_dim=self.x_dim + self.message_dim,
            n_important=len(self.bundle.important_state),
            hidden_dim=args.hidden_dim,
            latent_dim=args.latent_dim,
            dropout=args.comm_dropout,
            carry=args.comm_carry,
            normalise_latent=args.normalise_latent,
        )
        self.comm_hidden: Tensor | None = None
        self.channel = self._make_channel()
        self._field: dict[str, Any] | None = None  # what the replay buffer stores, if it does
        self._window: Tensor | None = None  # acting: the last L steps of x, (B, L, N, D)

    def __deepcopy__(self, memo):
        """Copies the networks; the protocol programs are immutable and shared."""
        import copy

        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.agent = copy.deepcopy(self.agent, memo)
        twin.comm = copy.deepcopy(self.comm, memo)
        return twin

    def _agent_input_dim(self) -> int:
        return super()._agent_input_dim() + self.args.latent_dim

    def networks(self) -> dict[str, nn.Module]:
        return {"agent": self.agent, "comm": self.comm}

    def _make_channel(self) -> Channel | None:
        """Returns the channel between the agents, None if it changes nothing."""
        settings = channel_settings(self.args)
        if not self.programs or settings.is_perfect:
            return None
        senders = [torch.from_numpy(flow_map(program).senders()) for program in self.programs]
        return Channel(settings, torch.cat(senders, dim=1).to(self.args.device))

    # -- messages ----------------------------------------------------------------------------------------

    def _empty_step(self, x_BND: Tensor) -> Tensor:
        """Returns a step before the episode's start: -1 in observation and last action, the id kept."""
        filler = torch.full_like(x_BND, -1.0)
        if self.args.obs_agent_id:
            filler[..., -self.n_agents :] = x_BND[..., -self.n_agents :]
        return filler

    def messages_packed(self, x_PND: Tensor, packing: Packing) -> Tensor:
        """Returns the messages of all existing steps, (P, N, M), in one call a protocol."""
        parts = []
        for program in self.programs:
            if program.spec.history is None:
                parts.append(program.message(x_PND))
                continue
            with_filler = torch.cat([x_PND, self._empty_step(x_PND[:1])])
            index = packing.history(program.spec.history)
            rows = max(1, WINDOW_FLOATS // (index.shape[1] * x_PND[0].numel()))
            parts.append(torch.cat([program.message(with_filler[part]) for part in index.split(rows)]))
        return torch.cat(parts, dim=-1) if parts else x_PND.new_zeros(*x_PND.shape[:2], 0)

    def stored_fields(self, n_steps: int) -> dict[str, dict[str, Any]]:
        mebibytes = n_steps * self.n_agents * self.message_dim * 4 / 2**20
        if not 0 < mebibytes <= self.args.message_cache_mib:
            return {}
        self._field = {"vshape": (self.message_dim,), "group": "agents"}
        return {MESSAGES: self._field}

    def complete(self, ep_batch) -> None:
        if self._field is None:
            return
        device = self.args.device
        packing = Packing.of(ep_batch["filled"].squeeze(-1).to(device))
        x_PND = self.extended_obs_packed({key: ep_batch[key].to(device) for key in self.X_KEYS}, packing)
        messages = packing.pad(self.messages_packed(x_PND, packing))
        ep_batch.add_key(MESSAGES, self._field, messages.to(ep_batch.device))

    def messages_step(self, x_BND: Tensor) -> Tensor:
        """Returns the messages of the current step, (B, N, M), and moves the history window on."""
        if self._window is None:
            self._window = self._empty_step(x_BND).unsqueeze(1).repeat(1, self.history, 1, 1)
        self._window = torch.cat([self._window[:, 1:], x_BND.unsqueeze(1)], dim=1)
        parts = [p.message(x_BND if p.spec.history is None else self._window) for p in self.programs]
        return torch.cat(parts, dim=-1) if parts else x_BND.new_zeros(*x_BND.shape[:2], 0)

    # -- acting ------------------------------------------------------------------------------------------

    def init_hidden(self, batch_size: int) -> None:
        super().init_hidden(batch_size)
        self.comm_hidden = self.comm.init_hidden().expand(batch_size * self.n_agents, -1)
        self._window = None
        if self.channel is not None:
            self.channel.reset()

    def forward(self, ep_batch, t: int, test_mode: bool = False) -> Tensor:
        x = self.extended_obs(ep_batch, t)
        B, N, _ = x.shape
        messages = self.messages_step(x)
        if self.channel is not None and self.channel.is_on(test_mode):
            messages = self.channel.step(messages)
        if self.args.zero_messages or (test_mode and self.args.zero_test_messages):
            messages = torch.zeros_like(messages)
        u = torch.cat([x, messages], dim=-1)
        z, self.comm_hidden = self.comm(u.view(B * N, -1), self.comm_hidden)
        inputs = torch.cat([self._with_state(x, ep_batch["state"][:, t]).view(B * N, -1), z], dim=-1)
        q_RA, self.hidden_states = self.agent(inputs, self.hidden_states)
        return q_RA.view(B, N, -1)

    # -- learning ----------------------------------------------------------------------------------------

    def shared_inputs(self, ep_batch) -> LmacInputs:
        packing = Packing.of(ep_batch["filled"].squeeze(-1))
        x_PND = self.extended_obs_packed(ep_batch, packing)
        if MESSAGES in getattr(ep_batch, "scheme", ()):  # only the embedded host stores them
            messages = packing.pack(ep_batch[MESSAGES])
        else:
            messages = self.messages_packed(x_PND, packing)
        if self.channel is not None and self.channel.is_on(test_mode=False):
            messages = self.channel.packed(messages, packing)
        if self.args.zero_messages:
            messages = torch.zeros_like(messages)
        own = self._with_packed_state(x_PND, ep_batch, packing)
        return LmacInputs(packing, own, torch.cat([x_PND, messages], dim=-1))

    def unroll(self, ep_batch, shared: LmacInputs | None = None) -> Unrolled:
        shared = self.shared_inputs(ep_batch) if shared is None else shared
        packing = shared.packing
        P, N, U = shared.u_PNU.shape
        h0 = self.comm.init_hidden().expand(packing.counts[0] * N, -1)
        z_RZ = self.comm.unroll(shared.u_PNU.view(P * N, U), h0, [c * N for c in packing.counts])
        z_PNZ = z_RZ.view(P, N, -1)
        seen = z_PNZ.detach() if self.args.detach_latent else z_PNZ
        q_PNA = self._q_values(torch.cat([shared.inputs_PND, seen], dim=-1), packing)
        return Unrolled(q_PNA, latent_PNZ=z_PNZ)


def _width(vshape) -> int:
    return vshape if isinstance(vshape, int) else int(torch.tensor(vshape).prod())
