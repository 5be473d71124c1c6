"""LoRA with Hugging Face's trainer: is a review good or bad? Only the adapters travel."""

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from celeriac import ClientData, Evaluation, TrainResult, Workload


class Study(Workload):
    def __init__(self):
        torch.set_num_threads(1)
        torch.manual_seed(0)  # the weights are made here, equal for all; in earnest they are those of from_pretrained()
        config = BertConfig(vocab_size=20, hidden_size=60, intermediate_size=60, num_hidden_layers=1)
        self.model = get_peft_model(BertForSequenceClassification(config), LoraConfig(r=4, target_modules="all-linear"))

    def initial_parameters(self, context):
        return adapters_of(self.model)

    def client_data(self, source):
        return ClientData(train=reviews(source.part.index, 600), test=reviews(100 + source.part.index, 100))

    def holdout_data(self, folder):
        return None  # the clients evaluate it

    def train(self, parameters, data, context):
        trainer = self.trainer(parameters, data, context)
        done = trainer.train()
        return TrainResult(adapters_of(self.model), len(data), done.global_step, trainer.state.epoch, optimizer="AdamW")

    def evaluate(self, parameters, data, context):
        found = self.trainer(parameters, data, context).predict(data)
        accuracy = (found.predictions.argmax(axis=1) == found.label_ids).mean()
        return Evaluation(found.metrics["test_loss"], len(data), {"accuracy": accuracy})

    def trainer(self, parameters, data, context):
        set_peft_model_state_dict(self.model, {name: torch.tensor(array) for name, array in parameters.items()})
        options = context.options
        steps = {"num_train_epochs": options.epochs, "max_steps": options.max_steps or -1, "seed": context.seed}
        batches = {"per_device_train_batch_size": options.batch_size, "learning_rate": options.learning_rate}
        arguments = TrainingArguments("runs", save_strategy="no", disable_tqdm=True, **steps, **batches)
        return Trainer(self.model, arguments, train_dataset=data, callbacks=[InTime(context.budget)])


class InTime(TrainerCallback):
    def __init__(self, budget):
        self.budget = budget

    def on_step_end(self, args, state, control, **others):
        control.should_training_stop |= self.budget.is_over()


def adapters_of(model):
    return {name: tensor.numpy().copy() for name, tensor in get_peft_model_state_dict(model).items()}


def reviews(seed, number):
    words = torch.randint(20, (number, 13), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": review, "labels": int((review < 10).sum() > 6)} for review in words]  # the first ten praise
