"""WRN40-2 → WRN40-1 on CIFAR-100, fifteen rows by the protocol that the papers share.

  python launch.py --config=configs/cifar100/wrn40_2_wrn40_1.py --workdir=runs/wrn40_2_wrn40_1
  python -m kd_jax.report runs/wrn40_2_wrn40_1

The teacher is trained first. --config.teacher_checkpoint=…/wrn_40_2_vanilla/ckpt_epoch_240.pth takes
RepDistiller's instead, which saw all 50,000 images; with it go
--config.teacher_mean='(0.5071, 0.4867, 0.4408)' --config.teacher_std='(0.2675, 0.2565, 0.2761)'.
Expected: the published numbers stand beside each row; no result here stands behind them yet. Time:
45 runs of 240 epochs are work for a GPU (`--dry_run` says what they take here);
--config.scale=0.01 --config.seeds=1 shows on a CPU that all is well.
"""

from kd_jax.studies import cifar100


def get_config():
  return cifar100.of_pair('wrn40_2_wrn40_1')
