"""What reaches people: generated sentences as a dataset others can load, and folders pushed to a model hub.

`dataset` writes the folder, `upload` sends any folder.
"""

from syncabel.hub.dataset import DatasetFacts, export_dataset
from syncabel.hub.upload import Pushed, check_repo, push_folder

__all__ = ["DatasetFacts", "Pushed", "check_repo", "export_dataset", "push_folder"]
