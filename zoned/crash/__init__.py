"""What a power cut may leave behind: every state of it (states), recording a workload's history
(history), and looking at each survivor (checker). Users have ``dev.crash_states()`` and
``zoned.testing.check_crashes``.
"""
