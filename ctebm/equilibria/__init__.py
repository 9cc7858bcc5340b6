"""Equilibria of a network (sections 2.3.1 and 3.1, eqs. 9 to 11), smooth or at kinks.

From their conditions (`kkt`) over ways to meet these (`picard`, `trust_region`, `newton`,
`alternating`, `accelerated`) to one equilibrium a sample (`settling`), all of them (`search`), and
a record of what is known at each.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
