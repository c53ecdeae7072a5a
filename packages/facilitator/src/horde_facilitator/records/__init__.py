"""The records: functions of a connection or a transaction, which read and change frozen values."""
