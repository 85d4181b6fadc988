"""Training: fits a model to a folder of images.

config        the YAML file
data          the folder's images, and the samples drawn from them
step          optimizer, loss and one step
state         checkpoints: everything that a run resumes from
loop          `train`: steps, validation, checkpoints and logs in order
logs          the run's logs
distributed   several processes, and the signals that stop a run
"""
