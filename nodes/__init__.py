"""What the nodes share: the host's services (``host``) and model loading (``loading``)."""
