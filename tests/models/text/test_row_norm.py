import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from litetext.models.text.row_norm import RowNorm


def _norm(kind):
    torch.manual_seed(1)
    norm = kind(5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def _rows():
    torch.manual_seed(2)
    return torch.randn(11, 5) * 3 + 1, torch.randn(11, 5)


def _rank(rank, port, share, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    rows, weight = _rows()
    mine = slice(0, share) if rank == 0 else slice(share, None)
    leaf = rows[mine].clone().requires_grad_()
    norm = _norm(RowNorm)
    (norm(leaf) * weight[mine]).sum().backward()
    grads = norm.weight.grad.clone()
    dist.all_reduce(grads)
    # As arrays: a tensor in a queue is lost when its process ends before the other has taken it.
    tensors = (leaf.grad, grads, norm.running_mean, norm.running_var)
    results.put((rank, *(t.numpy() for t in tensors), int(norm.num_batches_tracked)))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("share", [5, 9])
def test_two_ranks_with_unequal_rows_equal_one_process(share):
    rows, weight = _rows()
    leaf = rows.clone().requires_grad_()
    norm = _norm(nn.BatchNorm1d)
    (norm(leaf) * weight).sum().backward()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")  # threads do not survive a fork
    results = context.Queue()
    ranks = [context.Process(target=_rank, args=(r, port, share, results)) for r in range(2)]
    for process in ranks:
        process.start()
    found = {
        rank: [torch.from_numpy(t) if isinstance(t, np.ndarray) else t for t in rest]
        for rank, *rest in (results.get(), results.get())
    }
    for process in ranks:
        process.join()
    torch.testing.assert_close(torch.cat([found[0][0], found[1][0]]), leaf.grad, atol=1e-5, rtol=1e-5)
    for rank in (0, 1):
        torch.testing.assert_close(found[rank][1], norm.weight.grad, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[rank][2], norm.running_mean)
        torch.testing.assert_close(found[rank][3], norm.running_var)
        assert found[rank][4] == 1


def test_a_single_process_is_plain_batch_norm():
    rows, _ = _rows()
    plain, ours = _norm(nn.BatchNorm1d), _norm(RowNorm)
    assert torch.equal(ours(rows), plain(rows))
    assert ours.state_dict().keys() == plain.state_dict().keys()
    plain.eval(), ours.eval()
    assert torch.equal(ours(rows), plain(rows))
