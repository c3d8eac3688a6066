"""The wait queue's steps as Python functions."""

from libc.stdint cimport int64_t

from lambda_dispatch_core.queue.waitqueue cimport Waiter, WaitQueue


def push(WaitQueue queue not None, Waiter waiter, int64_t since, int64_t deadline):
    return bool(queue.push(waiter, since, deadline))


def push_front(WaitQueue queue not None, Waiter waiter):
    queue.push_front(waiter)


def put(WaitQueue queue not None, Waiter waiter):
    queue.put(waiter)


def ready(WaitQueue queue not None):
    return bool(queue.ready())


def pop(WaitQueue queue not None):
    return queue.pop()


def peek(WaitQueue queue not None):
    return queue.first()


def remove(WaitQueue queue not None, Waiter waiter):
    return bool(queue.remove(waiter))


def expire(WaitQueue queue not None, int64_t now):
    return queue.expire(now)


def oldest(WaitQueue queue not None):
    return queue.oldest()


def waiting(Waiter waiter not None):
    return bool(waiter.waiting())
