"""
The composition root of C{twistd quebert}: its options and its service.
"""

from quebert.service._options import Options
from quebert.service._service import MediatorService, makeService

__all__ = ["MediatorService", "Options", "makeService"]
