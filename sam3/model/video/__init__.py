"""The rooms of the video model: what one frame decides, what it does, and the session around it.

``associate``, ``hotstart``, ``suppress``, ``confirm``, ``recondition`` decide on numbers alone;
``plan`` puts them together; ``detect``, ``track``, ``apply`` touch models and tensors; ``session``,
``prompting``, ``clicks``, ``propagate``, ``actions``, ``outputs`` make up the public behaviour.
Front doors: ``sam3.model.sam3_video_base``, ``sam3_video_inference``, ``sam3_video_predictor``.
"""
