"""Pixel-space networks of EDM (Karras et al. 2022) and PFGM++ (Xu et al. 2023).

Weights of the published networks fit: parameter names and shapes are theirs.
"""
