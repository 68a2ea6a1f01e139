"""What the online objectives share: a reward, rollouts of the policy as it is now, and trainers that keep them."""
