#!/bin/bash
# Makes one Elasticsearch node out of a bare Amazon Linux 2023. Run once, by cloud-init. No secret is in this text: certificate, key
# and passwords are read from Secrets Manager with the node's own role. @NAMES@ are filled in by base_c_node.py.
set -euo pipefail
umask 077

version=@VERSION@
name=@NODE_NAME@
address=@ADDRESS@
config=/etc/elasticsearch
data=/var/lib/elasticsearch
export AWS_DEFAULT_REGION=@REGION@

# Run what follows until it succeeds, for up to five minutes: a role or a route just made may not be known everywhere yet.
persist() {
  for _ in $(seq 30); do "$@" && return; sleep 10; done
  return 1
}

# The data volume outlives the instance: it is formatted only where it has no file system yet.
device=/dev/sdf
for _ in $(seq 150); do [ -e $device ] && break; sleep 2; done
blkid $device || mkfs.xfs $device
mkdir -p $data
# By its own id: device names change from one boot to the next.
echo "UUID=$(blkid -s UUID -o value $device) $data xfs defaults,nofail 0 2" >>/etc/fstab
mount $data

persist dnf install -y jq amazon-cloudwatch-agent
persist rpm --import https://artifacts.elastic.co/GPG-KEY-elasticsearch
persist curl -fsS -o /var/tmp/elasticsearch.rpm \
  "https://artifacts.elastic.co/downloads/elasticsearch/elasticsearch-$version-aarch64.rpm"
rpm --checksig /var/tmp/elasticsearch.rpm
dnf install -y /var/tmp/elasticsearch.rpm

# The package's own certificates and passwords give way to the stack's.
rm -rf $config/certs $config/elasticsearch.keystore
mkdir -p $config/certs
secret=$(persist aws secretsmanager get-secret-value --secret-id @SECRET@ --query SecretString --output text)
for file in ca.pem node.pem node.key; do jq -r --arg file "$file" '.[$file]' <<<"$secret" >"$config/certs/$file"; done

cat >$config/elasticsearch.yml <<YAML
cluster.name: consumidor
node.name: $name
node.roles: @ROLES@
node.attr.zone: @ZONE@
cluster.routing.allocation.awareness.attributes: zone
network.host: $address
discovery.seed_hosts: @SEEDS@
cluster.initial_master_nodes: @NODES@
path.data: $data
path.logs: /var/log/elasticsearch
bootstrap.memory_lock: true
action.auto_create_index: false
xpack.ml.enabled: false
xpack.security.enabled: true
xpack.security.autoconfiguration.enabled: false
xpack.security.transport.ssl.enabled: true
xpack.security.transport.ssl.verification_mode: full
xpack.security.transport.ssl.client_authentication: required
xpack.security.transport.ssl.key: certs/node.key
xpack.security.transport.ssl.certificate: certs/node.pem
xpack.security.transport.ssl.certificate_authorities: [certs/ca.pem]
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.key: certs/node.key
xpack.security.http.ssl.certificate: certs/node.pem
xpack.security.http.ssl.certificate_authorities: [certs/ca.pem]
s3.client.default.region: @REGION@
YAML

# Who may do what, from files: the same on each node, there before the cluster is.
cat >$config/roles.yml <<YAML
search:
  indices:
    - {names: ["events", "events-v*", "latest", "latest-v*"], privileges: [read]}
feed:
  indices:
    - {names: ["events", "events-v*", "latest", "latest-v*"], privileges: [index]}
migrate:
  cluster: [manage_index_templates, monitor]
  indices:
    - {names: ["events", "events-v*", "latest", "latest-v*"], privileges: [all]}
YAML
for user in search feed migrate; do
  /usr/share/elasticsearch/bin/elasticsearch-users useradd $user -p "$(jq -r --arg user $user '.passwords[$user]' <<<"$secret")" -r $user
done
password=$(jq -r .passwords.operator <<<"$secret")
/usr/share/elasticsearch/bin/elasticsearch-users useradd operator -p "$password" -r superuser
unset secret
/usr/share/elasticsearch/bin/elasticsearch-keystore create
chown -R root:elasticsearch $config
chmod -R u=rwX,g=rX,o= $config
chmod g+w $config
chown elasticsearch:elasticsearch $data
mkdir -p /etc/systemd/system/elasticsearch.service.d
# Never without its volume: it would begin anew on the root disk.
printf '[Unit]\nRequiresMountsFor=%s\n[Service]\nLimitMEMLOCK=infinity\nRestart=on-failure\n' $data \
  >/etc/systemd/system/elasticsearch.service.d/override.conf

cat >/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json <<JSON
{"metrics": {"namespace": "CWAgent", "append_dimensions": {"InstanceId": "\${aws:InstanceId}"}, "aggregation_dimensions": [["InstanceId"]],
 "metrics_collected": {"disk": {"measurement": ["used_percent"], "resources": ["$data"]}}},
 "logs": {"logs_collected": {"files": {"collect_list": [
  {"file_path": "/var/log/elasticsearch/consumidor_server.json", "log_group_name": "@LOG_GROUP@", "log_stream_name": "$name"}]}}}}
JSON
systemctl daemon-reload
systemctl enable --now amazon-cloudwatch-agent elasticsearch

# The cluster stands: forget how it first came together, then set the nightly snapshot up (each node may; the last one wins, all alike).
call() {
  curl -fsS --cacert $config/certs/ca.pem --user "operator:$password" -H 'content-type: application/json' "$@"
}
for _ in $(seq 90); do call "https://$address:9200/_cluster/health?wait_for_status=yellow&timeout=5s" && break; sleep 10; done
sed -i '/^cluster.initial_master_nodes/d' $config/elasticsearch.yml
# Encrypted as the bucket says, with a key of KMS: the repository's own setting would ask for S3's.
call -X PUT "https://$address:9200/_snapshot/nightly" \
  -d '{"type": "s3", "settings": {"bucket": "@SNAPSHOT_BUCKET@", "base_path": "@SNAPSHOT_PATH@"}}'
call -X PUT "https://$address:9200/_slm/policy/nightly" \
  -d '{"schedule": "0 30 5 * * ?", "name": "<nightly-{now/d}>", "repository": "nightly", "retention": {"expire_after": "35d", "min_count": 7}}'
