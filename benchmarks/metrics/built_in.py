"""The metrics of this project, in reading order. Imports no torch."""

from __future__ import annotations

from benchmarks.metrics import (
    attributes,
    company,
    distribution,
    geometry,
    ibench,
    identity,
    leakage,
    quality,
    structure,
    text,
    truth,
)
from benchmarks.metrics.metric import Metric, SetMetric
from methods.pocket.world.context import FACTORS
from methods.shipped import is_pocket


def built_in_metrics(family: str = "pocket") -> list[Metric | SetMetric]:
    """All of them. family: of the backbone; it decides how some are made, never which there are."""
    context = tuple(FACTORS)
    followed: identity.Followed = identity.FollowedByClip()
    if is_pocket(family):
        followed = identity.FollowedByProbes()
    return [
        text.ClipT(),
        text.ClipIScene(),
        text.ClipIRef(),
        identity.IdSim(),
        identity.IdSimZero(),
        identity.IdSimSame(),
        identity.IdSecond(),
        identity.IdFloor(),
        truth.SimGt(),
        truth.CopyPaste(),
        truth.IdRank(),
        company.IdPeople(),
        company.IdPeopleLeast(),
        company.IdPeopleFloor(),
        company.PeopleFound(),
        company.IdConf(),
        identity.FaceFoundRate(),
        identity.IdP(followed),
        identity.IdFollowed(followed),
        quality.Iq(),
        quality.IqPocket(),
        quality.Piqe(),
        quality.Aesthetic(),
        quality.PickScore(),
        leakage.BackgroundLeakage(),
        leakage.BackgroundLpips(),
        text.Drift(),
        attributes.Attributes((*context, "gender")),
        *(attributes.AttributeFactor(factor) for factor in (*context, "gender")),
        leakage.Leak(context),
        *(leakage.LeakFactor(factor) for factor in context),
        geometry.PoseDiversity(),
        geometry.LandmarkDiversity(),
        geometry.FaceDiversity(),
        geometry.ExpressionDiversity(),
        structure.DinoSimilarity(),
        structure.DinoScene(),
        structure.DreamSimDistance(),
        attributes.Counterfactual(),
        distribution.FidClip(),
        distribution.Fid(),
        ibench.IBenchClipT(),
        ibench.IBenchClipI(),
        ibench.IBenchFaceSim(),
        ibench.IBenchAntiFaceSim(),
        ibench.IqIBench(),
        ibench.IBenchAesthetic(),
        ibench.IBenchFid(),
        ibench.IBenchPoseDiv(),
        ibench.IBenchExprDiv(),
        ibench.IBenchLandmarkDiff(),
        ibench.IBenchFaceDiv1(),
        ibench.IBenchFaceDiv2(),
        ibench.IBenchDino(),
        ibench.IBenchFgis(),
    ]
