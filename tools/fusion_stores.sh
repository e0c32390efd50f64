#!/usr/bin/env bash
# Makes the latent stores ROW_SEED that tools/tables/fusion.yaml needs, from the shipped codebook. On two
# CPU cores the codes take about 20 minutes, and the teachers of a seed 20 more. The script can be resumed.
# Once the codes exist, two seeds may run side by side.
#   tools/fusion_stores.sh data/navsim_bench 0 1 2
# There is much video and few labels: a tenth of the training drives keep their labels, for the planner.
# Teachers learn from the codes of the other drives, so their predictions are as good on the planner's
# drives as on those of the test split.
set -eu
folder=${1:?the folder of the NAVSIM data, then the seeds of the teachers}
seeds=${*:2}
data="data=navsim data.path=$folder"
video="$data data.split.train=train_unlabelled"
planned="$data data.split.train=train_labelled parts=[train,val,test,longtail]"
runs=${RUNS:-runs/fusion}
python=${PYTHON:-python}
run="$python -m latentdrive"

label() { $run label model="$1" store="stores/$2" out="$runs/label_$2" "${@:3}"; }
permute() { $python tools/permute_store.py "stores/$1" "stores/$2"; }
teach() { $run train teacher $video latents="stores/$1" out="$runs/$2" "${@:3}" && label "$runs/$2/checkpoint" "$2" $planned; }

$python tools/divide_split.py "$folder/splits" train --share 0.1 --names train_labelled train_unlabelled
label checkpoints/world_codebook codebook $planned
label checkpoints/world_codebook codebook_video $video "parts=[train,val]"
permute codebook_video codebook_video_permuted
for seed in ${seeds:-0 1 2}; do
  teach codebook_video "teacher_$seed" training.schedule.steps=2000 seed="$seed"
  permute "teacher_$seed" "permuted_$seed"
  # The same network with its first weights: one step with a learning rate of 0.
  teach codebook_video "untrained_$seed" training.optimizer.lr=0 training.optimizer.weight_decay=0 \
    training.schedule.steps=1 training.schedule.warmup=0 seed="$seed"
  teach codebook_video_permuted "permuted_codes_$seed" training.schedule.steps=2000 seed="$seed"
done
