// PyTorch's files of tensors, as torch.save writes a state dict.
//
//   since 1.6   a zip archive: FOLDER/data.pkl, a pickle; FOLDER/data/KEY, the elements of each
//               storage; FOLDER/byteorder, "little" or "big", in newer ones; FOLDER/version;
//               FOLDER/extra/NAME, which PyTorch leaves alone: ours is glassnet.json, the metadata
//   before      five pickles (a magic number, the version 1001, the machine's properties, the state
//               dict, a list of keys), then for each key the number of its elements and those
//
// A storage is a row of elements of one type. A tensor is a part of one: an offset, a shape, and a
// stride in elements for each axis; several tensors may share one. In the pickle a tensor is a call
// of torch._utils._rebuild_tensor_v2, and a storage a persistent id. The source is PyTorch's
// torch/serialization.py and torch/_utils.py.
#pragma once

#include <filesystem>
#include <string>

#include "models/tensor_file.h"

namespace glassnet {

// The tensors of a state dict: of the dict that was saved, or of one that lies in it under
// "state_dict", "model_state_dict" or "model". What is not a tensor is passed over. "module." and
// "_orig_mod.", which DataParallel and torch.compile put before every name, are taken off. Elements
// stay where they lie in `file`, unless they are compressed.
//
// Nothing in the file is executed. Throws Error, one sentence that begins with `name`, for whatever
// is damaged or something else: a pickled model, TorchScript, a small file of endless tensors.
TensorFile parse_torch_file(const std::string& name, const SharedBytes& file);

// Writes the zip form, which torch.load reads from PyTorch 1.6 on, and with weights_only=True from
// 1.13 on. The same tensors give the same bytes. To a temporary name, fsync, rename; throws Error
// and leaves nothing behind when it fails. The prefix has no place in it.
void save_torch_file(const std::filesystem::path& path, const TensorFile& content);

}  // namespace glassnet
