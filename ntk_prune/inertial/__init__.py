"""Inertial manifolds of gradient flow near trained weights, and what pruning can take from them.

=====================  ============================================================================
systems                systems with known manifolds, to see one; gradient flow of any function
point                  ``W*`` after a few steps of SGD; losses as flat functions
manifold               approximate manifolds, the inertial form, invariance, slaving along training
lyapunov_perron        the manifold itself, in tiny systems
gap                    gap conditions, slopes, certificates, what momentum hides
remainder              lower bounds of the Lipschitz constant; certificates of masks
spectrum               negative share, the plateau's rate, Gauss-Newton eigenpairs from the NTK
plateau                the rate rule that the authors' group publishes
leverage               from eigenspaces to coordinates: leverage, strong rank-revealing QR, bounds
reduced                masked, frozen, projected and slaved training
one_shot               the predicted largest sparsity, overlaps of masks with the curvature
=====================  ============================================================================

``docs/imc.md`` says what is known of the method, what is theory, and what is reconstruction.
"""
