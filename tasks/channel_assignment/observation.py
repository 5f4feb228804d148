"""What the users of a cell see: features of their own, and edges between them (paper B)."""

from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.tasks.channel_assignment.scenario import Uplink

Edges = Literal["none", "order"]
Layout = Literal["user", "channel"]


def observe(
    gain_to_noise: Tensor, uplink: Uplink, layout: Layout, edges: Edges, progress: float
) -> DenseGraph:
    r"""Observations of the users: the conflict graph of the cell, which is complete.

    In layout ``user`` (the paper's) a user's features are its SNRs at full power on every
    subchannel, in decades over 10 (:math:`\log_{10}(p_{\max} h_{i,n} / N_n) / 10`), the number of
    users over that of subchannels, and the fingerprint t. In layout ``channel`` it has
    features for each subchannel: its SNR there, that over its mean of all
    subchannels, the logarithm of the bandwidth over the largest, and the number of users. It has
    no fingerprint: what the others are up to is heard over the edges.

    All users are received at the base station, so on a subchannel that two share, the ratio of
    interference to signal is that of their gains. With edges ``order`` the weight of i -> k is
    :math:`\sigma((\bar h_i - \bar h_k) / 1\,\mathrm{dB}) / 4` of the gains' means in dB over the
    subchannels: near 1/4 from stronger users, near 0 from weaker ones, 0 from itself. The quarter
    keeps sums over up to nine others of order one. With ``none`` all are 0, and a graph network is
    one per user.

    Shapes:
        gain_to_noise ``[..., I, N]`` [1/W]; node ``[..., I, N + 2]`` in layout ``user`` and
        ``[..., I, N, 4]`` in layout ``channel``, edge_weight ``[..., I, I]``.
    """
    num_users, num_channels = gain_to_noise.shape[-2:]
    snr = 0.1 * torch.log10(uplink.power_max_w * gain_to_noise)
    mean = snr.mean(-1, keepdim=True)
    load = snr.new_tensor(num_users / num_channels)
    if layout == "user":
        facts = torch.stack([load, snr.new_tensor(progress)]).expand(*snr.shape[:-1], 2)
        node = torch.cat([snr, facts], dim=-1)
    else:
        width = snr.new_tensor(uplink.bandwidth_hz)
        width = (width / width.max()).log()
        columns = torch.broadcast_tensors(snr, snr - mean, width, load)
        node = torch.stack(columns, dim=-1)
    if edges == "none":
        weight = snr.new_zeros(*snr.shape[:-1], num_users)
    else:
        mean_db = 100.0 * mean
        own = torch.eye(num_users, dtype=torch.bool, device=snr.device)
        weight = 0.25 * torch.sigmoid(mean_db - mean_db.mT).masked_fill(own, 0.0)
    return DenseGraph(node, weight)
