"""The 3D Slicer face: MRML nodes to files and back, the worker process, the panel that both modules share, display.

Only this room imports slicer, vtk and qt. `cards`, `preflight`, `protocol` and `worker` do without them. Nothing here is
imported or installed before it is needed, and the heavy libraries live in the worker process, never in Slicer's.
The code keeps to what PythonQt and Slicer 5.8 to 5.13 offer, and to the syntax of Python 3.9.
"""
