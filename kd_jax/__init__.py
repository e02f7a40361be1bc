"""Knowledge distillation of image classifiers."""

__version__ = '0.2.0'  # of setup.cfg, too; a record holds it, also of a checkout that was never installed, or long ago
