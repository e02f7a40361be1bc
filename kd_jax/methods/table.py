"""The table of methods: a row each. Its factory's keyword arguments are its options.

A recipe sets some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kd_jax.methods.ab import ab
from kd_jax.methods.attention import attention
from kd_jax.methods.cc import cc
from kd_jax.methods.crd import crd
from kd_jax.methods.ctkd import ctkd
from kd_jax.methods.deit import deit
from kd_jax.methods.dist import dist
from kd_jax.methods.dkd import dkd
from kd_jax.methods.fitnet import fitnet
from kd_jax.methods.fsp import fsp
from kd_jax.methods.ft import ft
from kd_jax.methods.kd import kd
from kd_jax.methods.mlld import mlld
from kd_jax.methods.nkd import nkd
from kd_jax.methods.nokd import nokd
from kd_jax.methods.nst import nst
from kd_jax.methods.oh import oh
from kd_jax.methods.pkd import pkd
from kd_jax.methods.pkt import pkt
from kd_jax.methods.review import review
from kd_jax.methods.rkd import rkd
from kd_jax.methods.rld import rld
from kd_jax.methods.sfd import sfd, unpaired_before
from kd_jax.methods.simkd import simkd
from kd_jax.methods.sp import sp
from kd_jax.methods.srd import srd
from kd_jax.methods.srrl import srrl
from kd_jax.methods.triplet import triplet
from kd_jax.methods.ttm import ttm, wttm
from kd_jax.methods.uda import uda, uda_nokd
from kd_jax.methods.unlabelled import stl, unsupervised
from kd_jax.methods.vid import vid
from kd_jax.methods.wsld import wsld
from kd_jax.types import Method

RECIPES = ('written', 'published', 'official')


class Row(NamedTuple):
  """A method's factory, its plan, how many teachers it takes, and what a recipe changes; one that
  is not named changes nothing.
  """

  factory: Callable[..., Method]
  plan: str = 'with_teacher'  # a row of kd_jax.methods.plans.PLANS
  teachers: tuple[int, int] = (1, 1)  # fewest, most
  # recipe → options that differ from the factory's defaults
  recipes: Mapping[str, Mapping[str, Any]] = {}
  # recipe → where student's and teacher's ReLUs stand while this method trains
  relu_placement: Mapping[str, str] = {}
  # options that recorded studies did not have yet → what was done then
  older: Mapping[str, Any] = {}
  # what else sets it apart from what older studies ran, by student
  noted: Callable[[str], Mapping[str, Any]] = lambda student: {}
  alone: str = ''  # why it cannot be part of a join; '': it can


_KD_OFFICIAL = {'alpha': 0.9, 'temperature': 4.0}  # RepDistiller
_KD_BEFORE = {'standardise': False, 'weight': 1.0}
_TWENTY = {'warmup_epochs': 20.0}
_RELEASED = {'released': True, 'joint': False}
_ONE_PHASE = {'hint_share': 0.0}
# of the authors of AB and overhaul
_HEO = {'teacher_statistics': 'batch', 'connector_weights': 'normal'}
_AUTOAUGMENT = {'policy': 'autoaugment_published', 'joint': False}

METHODS: dict[str, Row] = {
  'nokd': Row(nokd, plan='single', teachers=(0, 0)),
  'kd': Row(kd, recipes={'official': _KD_OFFICIAL}, older=_KD_BEFORE),
  'ab': Row(
    ab,
    plan='ab',
    recipes={
      'published': {
        'identity': True,
        'connector_weights': 'normal',
        'boundary_epochs': 10,
        'boundary_drops': True,
        'boundary_added': True,
      },
      'official': {'identity': True, **_HEO, 'alpha': 1.0, 'temperature': 3.0, 'scaled': False},
    },
    relu_placement={'published': 'stem'},
    older={
      'connector_weights': 'uniform',
      'teacher_statistics': 'running',
      'boundary_drops': False,
      'boundary_added': False,
    },
  ),
  'oh': Row(
    oh,
    recipes={'published': _HEO, 'official': _HEO},
    relu_placement={'published': 'pool'},
    older={'connector_weights': 'uniform'},
  ),
  'rkd': Row(
    rkd,
    recipes={
      'official': {
        'cross_entropy_weight': 1.0,
        'distillation_weight': 1.0,
        'temperature': 4.0,
        'embedding': 'global',
        'normalised': True,
      }
    },
  ),
  'takd': Row(kd, plan='takd', recipes={'official': _KD_OFFICIAL}, older=_KD_BEFORE),
  'sfd': Row(
    sfd, recipes={'published': {'largest': True, 'layers': 'stages'}}, noted=unpaired_before
  ),
  'pkd': Row(
    pkd,
    recipes={
      'published': {
        'beta': 10.0,
        'reduction': 'concatenated',
        'normalised': False,
        'last': True,
        'relu': True,
      }
    },
    older={'reduction': 'mean', 'relu': False},
  ),
  'mkd': Row(
    kd, plan='mkd', teachers=(1, 16), recipes={'official': _KD_OFFICIAL}, older=_KD_BEFORE
  ),
  'uda': Row(uda, recipes={'published': {'averaged': True, **_AUTOAUGMENT}}),
  'uda_nokd': Row(uda_nokd, plan='single', teachers=(0, 0), recipes={'published': _AUTOAUGMENT}),
  'stl': Row(
    stl,
    plan='stl',
    recipes={
      'published': {
        'consistency': 0.0,
        'unlabelled': 1.0,
        'unlabelled_strong': True,
        'averaged': True,
        'policy': 'weak+autoaugment_published',
        'joint': False,
      }
    },
    older={'unlabelled_strong': False, 'averaged': False, 'joint': True},
  ),
  'unsupervised': Row(unsupervised, plan='unsupervised'),
  'dual': Row(kd, plan='dual', recipes={'official': _KD_OFFICIAL}, older=_KD_BEFORE),
  'triplet': Row(triplet),
  'dkd': Row(
    dkd, recipes={'official': _TWENTY}, older={'warmup_epochs': 0.0, 'standardise': False}
  ),
  'dist': Row(dist),
  'ttm': Row(ttm),
  'wttm': Row(wttm),
  'nkd': Row(nkd),
  'rld': Row(rld, recipes={'official': _TWENTY}),
  'wsld': Row(wsld),
  'mlld': Row(mlld, recipes={'published': _RELEASED, 'official': _RELEASED}),
  'ctkd': Row(ctkd),
  'attention': Row(attention),
  'fitnet': Row(fitnet, plan='fitnet', recipes={'published': _ONE_PHASE, 'official': _ONE_PHASE}),
  'fsp': Row(fsp, plan='fsp', recipes={'official': {'flow_added': True}}),
  'ft': Row(ft, plan='ft'),
  'nst': Row(nst),
  'sp': Row(sp),
  'pkt': Row(pkt),
  'cc': Row(cc),
  'simkd': Row(
    simkd, alone="it predicts by the teacher's classifier, which the other losses do not reach"
  ),
  'review': Row(review, recipes={'official': _TWENTY}, older={'width': 512}),
  'vid': Row(vid),
  'srd': Row(srd),
  'srrl': Row(srrl),
  'crd': Row(crd, recipes={'official': {'negatives': 16_384}}),
  'deit': Row(deit, recipes={'official': {'prediction': 'logits'}}),
}
