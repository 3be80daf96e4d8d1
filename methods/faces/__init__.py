"""Faces: encoders as plug-ins, and the one way from a picture to an embedded face.

encoder = load_encoder("pocket")
face = analyse("person.png", encoder)      # Face: box, landmarks, embedding, aligned crop
"""

from methods.faces.analyse import MIN_FACE, NOT_RENDERED, analyse, detect, may_judge
from methods.faces.domain import is_rendered, rendered_score
from methods.faces.geometry import TEMPLATE, align, check_policy, select_face
from methods.faces.registry import encoder_names, load_encoder
from methods.faces.types import Detection, Face, FaceEncoder

__all__ = [
    "MIN_FACE",
    "NOT_RENDERED",
    "TEMPLATE",
    "Detection",
    "Face",
    "FaceEncoder",
    "align",
    "analyse",
    "check_policy",
    "detect",
    "encoder_names",
    "is_rendered",
    "load_encoder",
    "may_judge",
    "rendered_score",
    "select_face",
]
