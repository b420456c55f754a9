"""A custom node pack of somebody else, for tests: it has a COLORCODE input but no widget for it."""


class OtherPackColor:
    """Shows as ui text the values that reached it."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "show", (), True

    @classmethod
    def INPUT_TYPES(cls):
        """The colour stands between other inputs on purpose."""
        return {
            "required": {
                "label": ("STRING", {"default": "other"}),
                "code": ("COLORCODE", {"default": "#112233"}),
                "after": ("FLOAT", {"default": 0.25, "min": 0.0, "max": 1.0, "step": 0.01}),
            }
        }

    def show(self, **values):
        """The values as ui text."""
        return {"ui": {"text": [repr(sorted(values.items()))]}}


NODE_CLASS_MAPPINGS = {"OtherPackColor": OtherPackColor}
