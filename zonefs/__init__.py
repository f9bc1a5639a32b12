"""zonefs on an emulated disk: the room for it. Nothing is exposed here; see ``zoned`` for the disk
itself.
"""
