"""Laws of actions: densities by numbers, samples by their moments, and the hybrid of both."""

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.models.action_heads import BoundedGaussian, Choice, HybridPolicy


def test_choice_is_torchs_categorical() -> None:
    logits = torch.randn(5, 3, 4, generator=generator(0))
    ours, theirs = Choice(logits), torch.distributions.Categorical(logits=logits)
    choice = ours.sample(generator(1))
    assert choice.shape == (5, 3)
    torch.testing.assert_close(ours.log_prob(choice), theirs.log_prob(choice))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode(), logits.argmax(-1))


def test_choices_are_drawn_with_their_probability() -> None:
    shares = torch.tensor([0.1, 0.2, 0.7])
    drawn = Choice(shares.log().expand(20_000, 3)).sample(generator(0))
    found = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(found, shares, atol=0.01, rtol=0)


def test_bounded_gaussian_is_torchs_transformed_normal() -> None:
    mean, log_std = torch.tensor([0.3, -2.0]), torch.tensor([-1.0, 0.4])
    ours = BoundedGaussian(mean, log_std, low=2.0, high=26.0)
    transforms = [
        torch.distributions.SigmoidTransform(),
        torch.distributions.AffineTransform(2.0, 24.0),
    ]
    theirs = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()),
        transforms,  # type: ignore[arg-type]
    )
    z = ours.sample(generator(0))
    value = ours.bounded(z)
    assert bool(((value > 2.0) & (value < 26.0)).all())
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(value), atol=1e-4, rtol=1e-4)
    plain = torch.distributions.Normal(mean, log_std.exp())
    torch.testing.assert_close(ours.entropy(), plain.entropy())


def test_density_of_a_ratio_integrates_to_one() -> None:
    value = torch.linspace(1e-6, 1 - 1e-6, 200_001, dtype=torch.float64)
    law = BoundedGaussian(torch.tensor(0.5).double(), torch.tensor(0.1).double())
    density = law.log_prob(torch.logit(value)).exp()
    assert float(torch.trapezoid(density, value)) == pytest.approx(1.0, abs=1e-4)


def test_gaussian_samples_have_their_moments() -> None:
    law = BoundedGaussian(torch.full((50_000,), 1.5), torch.full((50_000,), -0.5))
    z = law.sample(generator(0))
    assert float(z.mean()) == pytest.approx(1.5, abs=0.01)
    assert float(z.std()) == pytest.approx(float(torch.tensor(-0.5).exp()), abs=0.01)


@pytest.mark.parametrize("numbers", [1, 4])
def test_the_number_is_that_of_the_chosen_alternative(numbers: int) -> None:
    source = generator(0)
    logits = torch.randn(6, 2, 4, generator=source)
    mean = torch.randn(6, 2, numbers, generator=source)
    log_std = torch.randn(6, 2, numbers, generator=source)
    policy = HybridPolicy(Choice(logits), BoundedGaussian(mean, log_std, 0.0, 24.0))
    action = policy.sample(generator(1))
    log_prob, bounded = policy.log_prob(action), policy.bounded(action)
    entropy = policy.entropy()
    for b in range(6):
        for i in range(2):
            chosen = int(action.choice[b, i])
            one = BoundedGaussian(
                mean[b, i, chosen % numbers], log_std[b, i, chosen % numbers], 0.0, 24.0
            )
            wanted = logits[b, i].log_softmax(-1)[chosen] + one.log_prob(action.z[b, i])
            torch.testing.assert_close(log_prob[b, i], wanted)
            torch.testing.assert_close(bounded[b, i], one.bounded(action.z[b, i]))
            law = Choice(logits[b, i]), BoundedGaussian(mean[b, i], log_std[b, i])
            share = logits[b, i].softmax(-1)
            number = (share * law[1].entropy().expand(4)).sum()
            torch.testing.assert_close(entropy[b, i], law[0].entropy() + number)
    mode = policy.mode()
    assert torch.equal(mode.choice, logits.argmax(-1))
    wanted_z = mean.expand(6, 2, 4).gather(-1, mode.choice.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(mode.z, wanted_z)


@pytest.mark.parametrize(("mean", "log_std"), [(3, 3), (5, 5), (4, 1), (1, 4)])
def test_numbers_of_another_width_are_refused(mean: int, log_std: int) -> None:
    """Of three numbers choices 0 to 2 would find one, as if there were one for each of four."""
    law = BoundedGaussian(torch.zeros(6, mean), torch.zeros(6, log_std))
    message = rf"`number` must have 1 or 4 means, .* deviations, got \({mean}, {log_std}\)"
    with pytest.raises(ValueError, match=message):
        HybridPolicy(Choice(torch.zeros(6, 4)), law)
