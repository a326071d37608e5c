"""OpenStack Swift on one machine and one disk: swift_servers.py FOLDER ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT

FOLDER holds a configuration `<name>-server.conf` for each of the four servers. Imports happen once, then
the servers are forked: four programs of their own would take four times as long to get there.
"""

import os
import signal
import sys

folder, *ports = sys.argv[1:]
disk = os.path.join(folder, "disks", "disk")
os.makedirs(disk)
try:
    os.setxattr(disk, "user.swift.probe", bytes(1000))
except OSError as error:
    sys.exit(f"no extended attributes in {folder}: {error}")

from swift.common import utils  # noqa: E402

# Seconds if there is much to patch: here, once, before the other imports, and not in each server.
utils.eventlet_monkey_patch()

from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import run_wsgi  # noqa: E402
from swift.obj import server as object_server  # noqa: E402

# In place of /etc/swift/swift.conf, which need not be there.
utils.HASH_PATH_SUFFIX = b"espalier"

for name, port in zip(("account", "container", "object"), ports):
    builder = RingBuilder(2, 1, 0)
    builder.add_dev(
        dict(region=1, zone=1, ip="127.0.0.1", port=int(port), device="disk", weight=1)
    )
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, f"{name}.ring.gz"))

children = []


def end(*_):
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    os._exit(1)


for name in ("account", "container", "object", "proxy"):
    child = os.fork()
    if child == 0:
        options = (
            dict(global_conf_callback=object_server.global_conf_callback)
            if name == "object"
            else {}
        )
        conf = os.path.join(folder, f"{name}-server.conf")
        os._exit(run_wsgi(conf, f"{name}-server", verbose=True, **options))
    children.append(child)

signal.signal(signal.SIGTERM, end)
ended, _ = os.wait()
children.remove(ended)
end()
