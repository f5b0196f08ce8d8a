from .audit import AuditOptions as AuditOptions
from .prescription import prescribe as prescribe
