"""The SAM 3 image detector: picture, phrase and geometric prompts in; boxes, masks, scores out.

Entry point :class:`Sam3Image`; :meth:`Sam3Image.forward_grounding` runs four stages that a profiler
sees under their names. The module holds no picture and no prompt: state lives in the processor.
``Sam3ImageOnVideoMultiGPU``, the same on video frames, loads lazily from ``sam3_image_multi_gpu``.
SAM 3: Segment Anything with Concepts (https://arxiv.org/abs/2511.16719), section 3.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ..config import Sam3ImageConfig
from ..layers.basic import inverse_sigmoid
from .box_ops import box_cxcywh_to_xyxy
from .data_misc import BatchedDatapoint, FindStage
from .geometry_encoders import Prompt
from .instance_prompts import predict_many, predict_one
from .interactive_heads import project_fine_levels
from .outputs import SAM3Output
from .training_targets import back_convert, match_layers, rows_with_objects, scatter_rows, split_o2m

Outputs = dict[str, Any]
_log = logging.getLogger(__name__)


class Sam3Image(nn.Module):
    """Detector built from its parts; see ``model_builder`` for the released assembly.

    ``matcher(outputs, targets)`` is used when training or ``num_interactive_steps_val`` > 0.
    ``supervise_joint_box_scores`` folds presence into the reported logits (video detector).
    """

    TEXT_ID_FOR_TEXT = 0
    TEXT_ID_FOR_VISUAL = 1
    TEXT_ID_FOR_GEOMETRIC = 2

    back_convert = staticmethod(back_convert)

    def __init__(
        self,
        backbone: nn.Module,
        transformer: nn.Module,
        input_geometry_encoder: nn.Module,
        segmentation_head: nn.Module | None = None,
        num_feature_levels: int = 1,
        o2m_mask_predict: bool = True,
        dot_prod_scoring: nn.Module | None = None,
        use_instance_query: bool = False,
        multimask_output: bool = True,
        use_act_checkpoint_seg_head: bool = True,
        interactivity_in_encoder: bool = True,
        matcher: Any = None,
        use_dot_prod_scoring: bool = True,
        supervise_joint_box_scores: bool = False,
        detach_presence_in_joint_score: bool = False,
        separate_scorer_for_instance: bool = False,
        num_interactive_steps_val: int = 0,
        inst_interactive_predictor: nn.Module | None = None,
        config: Sam3ImageConfig | None = None,
    ) -> None:
        super().__init__()
        if num_feature_levels != 1:
            raise ValueError(f"one feature level is supported, got {num_feature_levels}")
        if separate_scorer_for_instance:
            raise ValueError("separate_scorer_for_instance is not supported")
        self.config = config
        self.backbone = backbone
        self.geometry_encoder = input_geometry_encoder
        self.transformer = transformer
        self.segmentation_head = segmentation_head
        self.o2m_mask_predict = o2m_mask_predict
        self.multimask_output = multimask_output
        self.matcher = matcher
        self.supervise_joint_box_scores = supervise_joint_box_scores
        self.detach_presence_in_joint_score = detach_presence_in_joint_score
        self.num_interactive_steps_val = num_interactive_steps_val
        if use_dot_prod_scoring:
            self.dot_prod_scoring = dot_prod_scoring
        else:
            self.class_embed = nn.Linear(transformer.d_model, 1)
        self.use_dot_prod_scoring = use_dot_prod_scoring
        self.inst_interactive_predictor = inst_interactive_predictor
        # training only: for losses that ignore the masks of prompts without an object
        self.masks_of_positives_only = False
        self.supports_points = True  # False when a checkpoint lacked the point projections

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.transformer.decoder.query_embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the vision trunk: what pictures are cast to."""
        return next(self.backbone.parameters()).dtype

    # ---- entry points ---------------------------------------------------------------------

    def forward(self, input: BatchedDatapoint) -> SAM3Output:
        """One training or evaluation pass over a batch with exactly one find stage.

        Images are encoded once each, captions once each; boxes of the stage form the geometric
        prompt. Returns a :class:`SAM3Output` with one stage of one step.
        """
        if len(input.find_inputs) != 1:
            raise ValueError(f"the image model takes one find stage, got {len(input.find_inputs)}")
        stage = input.find_inputs[0]
        if stage.input_points is not None and stage.input_points.numel():
            _log.warning("points of a batch are ignored by the image model; pass boxes")
        backbone_out = self.backbone.forward_image(input.img_batch.to(self.dtype))
        backbone_out |= self.backbone.forward_text(input.find_text_batch, device=self.device)
        prompt = Prompt(
            box_embeddings=stage.input_boxes,
            box_mask=stage.input_boxes_mask,
            box_labels=stage.input_boxes_label,
        )
        if stage.input_boxes is None:
            prompt = self._get_dummy_prompt(len(stage.img_ids))
        target = input.find_targets[0] if input.find_targets else None
        out = self.forward_grounding(backbone_out, stage, target, prompt)
        return SAM3Output([[out]])

    def forward_grounding(
        self,
        backbone_out: dict[str, Any],
        find_input: FindStage,
        find_target: Any,
        geometric_prompt: Prompt,
    ) -> Outputs:
        """Find what B prompts ask for.

        backbone_out: merged output of ``backbone.forward_image`` and ``forward_text``;
        find_input: which image and caption each prompt uses; geometric_prompt: B entries.
        Returns a dict: ``pred_logits`` [B, Q, 1], ``pred_boxes`` (normalised cxcywh) and
        ``pred_boxes_xyxy`` [B, Q, 4], ``presence_logit_dec`` [B, 1], ``pred_masks``
        [B, Q, h, w] and ``semantic_seg`` [B, 1, h, w] logits, ``queries`` [B, Q, C],
        ``presence_feats`` [1, B, C], ``encoder_hidden_states`` [H * W, B, C], ``prev_encoder_out``;
        while training also ``aux_outputs``, ``*_o2m`` and, with a matcher, ``indices``.
        """
        with record_function("_encode_prompt"):
            prompt, prompt_mask = self._encode_prompt(backbone_out, find_input, geometric_prompt)
        with record_function("_run_encoder"):
            encoder_out = self._run_encoder(backbone_out, find_input, prompt, prompt_mask)
        out: Outputs = {
            "encoder_hidden_states": encoder_out["memory"],
            "prev_encoder_out": {"encoder_out": encoder_out, "backbone_out": backbone_out},
        }
        with record_function("_run_decoder"):
            hs = self._run_decoder(out, encoder_out, prompt, prompt_mask)
        rows = None  # all prompts
        if self.training and self.masks_of_positives_only and find_target is not None:
            rows = rows_with_objects(find_target)
        with record_function("_run_segmentation_heads"):
            self._run_segmentation_heads(
                out, backbone_out, find_input, hs, prompt, prompt_mask, rows
            )
        if self.matcher is not None and (self.training or self.num_interactive_steps_val > 0):
            match_layers(out, find_target, self.matcher)
        return out

    def encode_image(self, pixels: Tensor) -> dict[str, Any]:
        """``backbone.forward_image``; the tracker's fine levels projected for interactive use."""
        out = self.backbone.forward_image(pixels)
        if self.inst_interactive_predictor is not None:
            decoder = self.inst_interactive_predictor.model.sam_mask_decoder
            out["sam2_backbone_out"] = project_fine_levels(decoder, out["sam2_backbone_out"])
        return out

    def predict_inst(self, inference_state: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """``SAM3InteractiveImagePredictor.predict`` on the picture of a processor's state."""
        return predict_one(self.inst_interactive_predictor, inference_state, *args, **kwargs)

    def predict_inst_batch(self, inference_state: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """``predict_batch`` on the pictures of a ``set_image_batch`` state."""
        return predict_many(self.inst_interactive_predictor, inference_state, *args, **kwargs)

    # ---- stages ---------------------------------------------------------------------------

    def _image_tokens(
        self, backbone_out: dict[str, Any], find_input: FindStage
    ) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Coarsest features and positions per prompt, [H * W, B, C], and their (H, W)."""
        feats, pos = backbone_out["backbone_fpn"][-1], backbone_out["vision_pos_enc"][-1]
        size = (feats.shape[-2], feats.shape[-1])
        feats, pos = feats[find_input.img_ids], pos[find_input.img_ids]
        return feats.flatten(2).permute(2, 0, 1), pos.flatten(2).permute(2, 0, 1), size

    def _encode_prompt(
        self, backbone_out: dict[str, Any], find_input: FindStage, geometric_prompt: Prompt
    ) -> tuple[Tensor, Tensor]:
        """Text tokens followed by geometry tokens: [N, B, C] and padding mask [B, N]."""
        text = backbone_out["language_features"][:, find_input.text_ids]
        text_mask = backbone_out["language_mask"][find_input.text_ids]
        feats, pos, size = self._image_tokens(backbone_out, find_input)
        geo, geo_mask = self.geometry_encoder(geometric_prompt, [feats], [size], [pos])
        prompt = torch.cat([text, geo.to(text.dtype)])
        return prompt, torch.cat([text_mask, geo_mask], dim=1)

    def _run_encoder(
        self,
        backbone_out: dict[str, Any],
        find_input: FindStage,
        prompt: Tensor,
        prompt_mask: Tensor,
    ) -> dict[str, Any]:
        """Fuse image and prompt; the result also names the prompt before and after."""
        feats, pos, size = self._image_tokens(backbone_out, find_input)
        fused = self.transformer.encoder(
            src=[feats],
            prompt=prompt,
            src_pos=[pos],
            prompt_key_padding_mask=prompt_mask,
            feat_sizes=[size],
        )
        return {
            **{k: fused[k] for k in ("memory", "pos_embed", "padding_mask")},
            "prompt_before_enc": prompt,
            "prompt_after_enc": fused["memory_text"],
            "prompt_mask": prompt_mask,
            **{k: fused[k] for k in ("spatial_shapes", "level_start_index", "valid_ratios")},
            "vis_feat_sizes": [size],
        }

    def _run_decoder(
        self, out: Outputs, encoder_out: dict[str, Any], prompt: Tensor, prompt_mask: Tensor
    ) -> Tensor:
        """Queries of all layers [L, B, Q', C]; boxes, scores and presence go into ``out``."""
        hs, refs, presence_logits, presence_feats = self.transformer.decoder(
            memory=encoder_out["memory"],
            memory_pos=encoder_out["pos_embed"],
            prompt=prompt,
            prompt_mask=prompt_mask,
            feat_size=encoder_out["vis_feat_sizes"][-1],
            valid_ratios=encoder_out["valid_ratios"],
        )
        hs, refs = hs.transpose(1, 2), refs.transpose(1, 2)
        out["presence_feats"] = presence_feats
        self._update_scores_and_boxes(out, hs, refs, presence_logits, prompt, prompt_mask)
        return hs

    def _update_scores_and_boxes(
        self,
        out: Outputs,
        hs: Tensor,
        refs: Tensor,
        presence_logits: Tensor,
        prompt: Tensor,
        prompt_mask: Tensor,
    ) -> None:
        """Per-layer logits [L, B, Q', 1], boxes [L, B, Q', 4], presence [L, B, 1] into ``out``."""
        if self.use_dot_prod_scoring:
            logits = self.dot_prod_scoring(hs, prompt, prompt_mask)
        else:
            logits = self.class_embed(hs)
        boxes = (inverse_sigmoid(refs) + self.transformer.decoder.bbox_embed(hs)).sigmoid()
        presence = presence_logits.transpose(1, 2)
        if self.supervise_joint_box_scores:
            gate = presence.detach() if self.detach_presence_in_joint_score else presence
            joint = logits.sigmoid() * gate[:, :, None].sigmoid()
            logits = inverse_sigmoid(joint).clamp(-10.0, 10.0)
        layers = [
            {
                "queries": hs[i],
                "presence_logit_dec": presence[i],
                "pred_logits": logits[i],
                "pred_boxes": boxes[i],
                "pred_boxes_xyxy": box_cxcywh_to_xyxy(boxes[i]),
            }
            for i in range(hs.shape[0])
        ]
        if self.training:
            n = self.transformer.decoder.num_queries
            layers = [split_o2m(layer, n) for layer in layers]
            out["aux_outputs"] = layers[:-1]
        out.update(layers[-1])

    def _run_segmentation_heads(
        self,
        out: Outputs,
        backbone_out: dict[str, Any],
        find_input: FindStage,
        hs: Tensor,
        prompt: Tensor,
        prompt_mask: Tensor,
        rows: Tensor | None = None,
    ) -> None:
        """Masks of the last layer's queries into ``out``; other prompts than ``rows`` get zeros."""
        if self.segmentation_head is None:
            return
        n = self.transformer.decoder.num_queries
        queries = hs[-1] if self.o2m_mask_predict else hs[-1][:, :n]
        batch = queries.shape[0]
        some = slice(None) if rows is None else rows
        seg = self.segmentation_head(
            backbone_feats=backbone_out["backbone_fpn"],
            obj_queries=queries[some],
            image_ids=find_input.img_ids[some],
            encoder_hidden_states=out["encoder_hidden_states"][:, some],
            prompt=prompt[:, some],
            prompt_mask=prompt_mask[some],
        )
        if rows is not None:
            seg = {k: None if v is None else scatter_rows(v, rows, batch) for k, v in seg.items()}
        masks = seg.pop("pred_masks")
        out["pred_masks"] = masks[:, :n]
        if masks.shape[1] > n:
            out["pred_masks_o2m"] = masks[:, n:]
        out.update(seg)

    def _get_dummy_prompt(self, num_prompts: int = 1) -> Prompt:
        """A prompt of ``num_prompts`` entries with no boxes."""
        return Prompt(
            box_embeddings=torch.zeros(0, num_prompts, 4, device=self.device),
            box_mask=torch.zeros(num_prompts, 0, dtype=torch.bool, device=self.device),
        )


def __getattr__(name: str) -> Any:
    if name != "Sam3ImageOnVideoMultiGPU":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .sam3_image_multi_gpu import Sam3ImageOnVideoMultiGPU

    return Sam3ImageOnVideoMultiGPU
