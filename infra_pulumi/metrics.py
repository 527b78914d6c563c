"""The names under which consumidor's own metrics reach CloudWatch: EMF log lines, one a minute per process, dimension `process`.

No pulumi in here. Source of the format, under docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring:
CloudWatch_Embedded_Metric_Format_Specification.html
"""

NAMESPACE = "consumidor"
DIMENSION = "process"
