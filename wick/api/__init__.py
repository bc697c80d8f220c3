"""The HTTP API of the front: who may ask, what can be asked, and the answers. A Request in, a Reply out."""
