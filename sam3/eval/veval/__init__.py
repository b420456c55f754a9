"""Evaluation of video predictions on SA-Co/VEval: track AP, video cgF1 and pHOTA.

python -m sam3.eval.veval --gt GROUND_TRUTH.json --pred PREDICTIONS.json
"""
