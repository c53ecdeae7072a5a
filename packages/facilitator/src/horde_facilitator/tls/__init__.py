"""The facilitator's certificate: `authority` makes those of an own CA, `given` checks those of others.

`certificate` has one of them served and follows its renewal; `names` are those by which this machine is reached.
"""
