#!/bin/sh
# The user, the rights of the configuration's directory, and what systemd knows. Nothing is started, since there is no
# configuration yet; an upgrade leaves the running gateway alone until it is restarted.
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
  systemd-sysusers guardlock.conf
elif ! getent passwd guardlock >/dev/null; then
  useradd --system --user-group --home-dir /var/lib/guardlock --no-create-home --shell /usr/sbin/nologin guardlock
fi
chgrp guardlock /etc/guardlock
chmod 0750 /etc/guardlock
[ ! -d /run/systemd/system ] || systemctl daemon-reload
