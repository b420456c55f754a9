"""Fine-tuning on a user's own pictures: COCO in, a checkpoint of the same layout out.

``settings``   what to do                       ``recipe``      how it learns
``splits``     finding files and pictures       ``data``        checked sets, held-out pictures
``augment``    random changes of pictures       ``transforms``  chains of transforms
``replay``     drawn scenes between the user's  ``cutouts``     objects pasted into them
``batches``    batches by number                ``anchor``      old phrases keep their meaning
``rates``      freezing and learning rates      ``lora``        adapters, merged at the end
``objective``  losses                           ``evaluation``  AP of the validation pictures
``export``     the checkpoint                   ``report``      what changed
``run``        all of it                        ``demo``        a new shape for the bundled model
"""

from __future__ import annotations
