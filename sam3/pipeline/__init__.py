"""Everything between a picture and finished masks that the node and the command line share.

``phrases``    prompt text -> phrases the text encoder takes
``frames``     image tensors <-> clean RGB pictures
``segment``    one picture, several phrases, boxes and points -> ``FrameResult``
``mask_edit``  grow or shrink, blur, invert
``colors``     colour text -> RGBA
``compose``    cut-out with alpha, or on a coloured background

Nothing here knows ComfyUI or the command line.
"""
