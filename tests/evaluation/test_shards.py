"""Parts of an evaluation: interrupted, continued, spread over shards and folders, and put together again."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers import Linear, images
from robustsnn.attacks import Attack, Linf, RandomSearch, Suite, fgsm, pgd
from robustsnn.attacks.start import Uniform
from robustsnn.attacks.step import GradientStep
from robustsnn.evaluation import Effort, Shard, evaluate, run_radii, run_suite
from robustsnn.ground.errors import UserError
from robustsnn.losses import margin
from robustsnn.records.outcome import Outcomes

EPS = 0.03
N, SIZE = 50, 8  # 7 batches, the last of two samples


def suite(eps=EPS):
    threat = Linf(eps)
    attacks = (fgsm(eps), RandomSearch(threat, "corners", 3), Attack(threat, GradientStep(eps / 2), Uniform(), steps=3))
    return Suite("test", (("all", attacks),), survivors_only=True)


class Shaky(nn.Module):
    """A model that draws."""

    def __init__(self):
        super().__init__()
        self.inner = Linear(3)

    def forward(self, x):
        return self.inner(x + 0.03 * torch.randn_like(x))


def problem(model=None):
    x = images(N)
    return model or Linear(3), (x, Linear(3)(x).argmax(1))


class Stop(Exception):
    pass


def stop_after(calls):
    left = [calls]

    def progress(done, total, text):
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    return progress


@pytest.mark.parametrize("make", [Linear, Shaky], ids=["plain", "random"])
@pytest.mark.parametrize("calls", [1, 2, 3, 4, 11, 20])
def test_interrupted_and_continued_is_uninterrupted(make, calls, tmp_path):
    model, data = problem(make(3) if make is Linear else make())
    effort = Effort(SIZE, out=tmp_path)
    whole = run_suite(model, data, suite(), Effort(batch_size=SIZE), keep_images=True)
    with pytest.raises(Stop):
        run_suite(model, data, suite(), effort, keep_images=True, progress=stop_after(calls))
    torch.rand(3)  # the global generator has gone on
    assert run_suite(model, data, suite(), effort, keep_images=True).equals(whole)
    assert whole.images is not None
    assert run_suite(model, data, suite(), effort, keep_images=True).equals(whole)


@pytest.mark.parametrize("make", [Linear, Shaky], ids=["plain", "random"])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_hold_what_the_whole_holds(make, count, tmp_path):
    model, data = problem(make(3) if make is Linear else make())
    whole = run_suite(model, data, suite(), Effort(batch_size=SIZE), keep_images=True)
    effort = Effort(SIZE, out=tmp_path / "out")
    for index in range(count, 0, -1):
        part = run_suite(model, data, suite(), effort, shard=Shard(index, count), keep_images=True)
        at = np.array([i for i in range(N) if Shard(index, count).takes(i // SIZE)])
        assert np.array_equal(part.margin, whole.margin[:, at])
        assert np.array_equal(part.images, whole.images[at])
    assert run_suite(model, data, suite(), effort, merge=[], keep_images=True).equals(whole)
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_shards_merge_to_the_entry_of_the_unsharded_run(tmp_path):
    model, data = problem()
    curve, effort = (0.01, 0.06), Effort(SIZE)
    entry = evaluate(model, data, suite, EPS, effort, curve=curve).to_dict()
    for index in (1, 2, 3):
        for out in (tmp_path / "one", tmp_path / str(index)):
            for _ in run_radii(model, data, suite, EPS, replace(effort, out=out), curve=curve, shard=Shard(index, 3)):
                pass
    for name, others in (("one", []), ("2", [tmp_path / "1", tmp_path / "3"])):
        kept = replace(effort, out=tmp_path / name)
        assert evaluate(model, data, suite, EPS, kept, curve=curve, merge=others).to_dict() == entry


def test_merge_refuses_what_does_not_belong_together(tmp_path):
    model, data = problem()

    def shard(index, network=model, made=suite, seed=0):
        run_suite(network, data, made(), Effort(SIZE, seed, out=tmp_path / str(index)), shard=Shard(index, 2))

    def merge():
        return run_suite(model, data, suite(), Effort(SIZE, out=tmp_path / "1"), merge=[tmp_path / "2"])

    shard(1)
    with pytest.raises(UserError, match=r"--merge: .*2 is no folder; give other copies of the run"):
        merge()
    for wrong in ({"network": Linear(3, seed=1)}, {"made": lambda: suite(EPS + 1e-6)}, {"seed": 1}):
        shard(2, **wrong)
        with pytest.raises(UserError, match=r"2 holds no outcomes named test-Linf-.*another model, data, suite, eps"):
            merge()
        shutil.rmtree(tmp_path / "2")
    shard(2)
    (path,) = (tmp_path / "2").glob("*/batch-00003.npz")
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match=r"1 of 7 batches are missing.*batch-00003.npz.*--resume"):
        merge()
    path.write_bytes(kept)
    complete, done = Outcomes.load(path)
    assert done == 3
    complete.save(path, 2)  # begun, not finished
    (tmp_path / "1" / path.parent.name / path.name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="missing or incomplete"):
        merge()
    path.write_bytes(kept)
    assert merge().equals(run_suite(model, data, suite(), Effort(batch_size=SIZE)))
    complete.margin[0, 0] += 1
    complete.save(path, 3)
    with pytest.raises(UserError, match=r"batch-00003.npz and .*batch-00003.npz differ"):
        merge()


def test_equal_copies_with_nan_margins_do_not_differ(tmp_path):
    class Nan(nn.Module):
        def forward(self, x):
            return Linear(3)(x) * torch.where(x.flatten(1).mean(1, keepdim=True) > 0.5, torch.nan, 1.0)

    model, data = problem(Nan())
    effort = Effort(SIZE, out=tmp_path / "1")
    found = run_suite(model, data, suite(), effort, keep_images=True)
    assert np.isnan(found.clean_margin).any()
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    assert run_suite(model, data, suite(), effort, merge=[tmp_path / "2"], keep_images=True).equals(found)


def test_a_shard_that_is_made_anew_leaves_the_others_alone(tmp_path):
    model, data = problem()

    def made():
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*/batch-*.npz")}

    effort = Effort(SIZE, out=tmp_path)
    anew = replace(effort, resume=False)
    for index in (1, 2):
        run_suite(model, data, suite(), effort, shard=Shard(index, 2))
    before = made()
    run_suite(model, data, suite(), anew, shard=Shard(2, 2))
    after = made()
    assert before.keys() == after.keys()
    assert {name for name in after if after[name] != before[name]} == {f"batch-0000{i}.npz" for i in (1, 3, 5)}
    run_suite(model, data, suite(), effort, shard=Shard(2, 2))
    assert made() == after
    run_suite(model, data, suite(), anew, merge=[])  # a merge deletes nothing
    assert made() == after


def test_wrong_shards_are_named():
    for index, count in ((0, 3), (4, 3), (1, 0), (-1, 2)):
        with pytest.raises(UserError, match=rf"shard {index}/{count}: .*2/4"):
            Shard(index, count)
    model, data = problem()
    with pytest.raises(UserError, match="shard 8/8 is empty"):
        run_suite(model, data, suite(), Effort(batch_size=SIZE), shard=Shard(8, 8))
    for count in range(1, 9):
        taken = [batch for index in range(1, count + 1) for batch in range(7) if Shard(index, count).takes(batch)]
        assert sorted(taken) == list(range(7))


@pytest.mark.parametrize("harm", ["cut", "changed", "empty"])
def test_damaged_batches_are_named_whatever_happened_to_them(harm, tmp_path):
    model, data = problem()
    run_suite(model, data, suite(), Effort(out=tmp_path, batch_size=SIZE))
    (path,) = tmp_path.glob("*/batch-00002.npz")
    content = bytearray(path.read_bytes())
    for at in range(60, len(content) - 200, 97) if harm == "changed" else [0]:
        harmed = bytearray(content)
        if harm == "changed":
            harmed[at] ^= 0xFF
        path.write_bytes({"cut": content[:-40], "changed": harmed, "empty": b""}[harm])
        try:
            found = run_suite(model, data, suite(), Effort(out=tmp_path, batch_size=SIZE))
        except UserError as error:
            assert f"{path.name} is damaged" in str(error)  # noqa: PT017
        else:  # a byte that carries nothing, such as a time
            path.write_bytes(bytes(content))
            assert found.equals(run_suite(model, data, suite(), Effort(out=tmp_path, batch_size=SIZE)))


def test_worst_images_are_those_that_were_judged(tmp_path):
    """Of broken samples the first attack's that broke it, of others the image of largest margin."""
    model, data = problem()
    y = data[1]
    columns = Suite("columns", (("weak", (fgsm(EPS),)), ("strong", (pgd(EPS, 3, alpha=EPS), pgd(EPS, 4)))))
    found = run_suite(model, data, columns, Effort(batch_size=SIZE), keep_images=True)
    z = torch.from_numpy(found.images)
    judged = margin(model(z), y).detach().numpy()
    broken = found.broken.any(0)
    first = found.broken.argmax(0)
    assert 5 < broken.sum() < 45
    expected = np.where(
        broken, found.margin[first, np.arange(N)], found.margin.max(0, where=found.attacked, initial=-9)
    )
    expected = np.where(broken, expected, np.maximum(expected, found.clean_margin))
    np.testing.assert_allclose(judged, expected, atol=1e-6)
