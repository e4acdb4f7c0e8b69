"""Networks of EDM (Karras et al. 2022), PFGM++ (Xu et al. 2023) and EDM2 (Karras et al. 2024).

Published weights load as they are: parameter names and shapes are the same.
"""
