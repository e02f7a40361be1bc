"""Knowledge distillation of image classifiers."""

# of setup.cfg, too; a record holds it, also of a checkout that was never installed, or long ago
__version__ = '0.2.0'
