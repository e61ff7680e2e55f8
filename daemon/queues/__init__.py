"""What is done to a whole queue at once, inside one transaction of the log.

Which jobs are in a queue is told by the views, which may be behind; what is done is decided by the
log itself: each job that the views name, and each that has an event after them, is folded from its
own stream in the transaction that records the outcome.
"""
