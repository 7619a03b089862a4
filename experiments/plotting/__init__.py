"""How figures look and what they are put together from. Nothing here knows a workflow or a run.

``style`` has colours and lines, ``panels`` grids and legends, ``axes`` scales, ``statistics``
intervals, ``spectra`` eigenvalues by rank, ``heat_maps`` grids of cells, ``saving`` files. Nothing
touches pyplot or any global state, and matplotlib is imported when something is drawn.
"""
